"""Start Spindle. The first start makes .venv beside this file; everything else is in kernel/."""

import os
import sys

ROOT = os.path.dirname(os.path.realpath(__file__))
LOCK = os.path.join(ROOT, "requirements.lock")
PARENT, NAME = os.path.split(os.path.abspath(os.environ.get("SPINDLE_VENV") or f"{ROOT}/.venv"))
VENV = os.path.join(os.path.realpath(PARENT), NAME)

if sys.version_info < (3, 11):
    sys.exit(
        "Spindle needs Python 3.11 or newer; this is %d.%d. On Debian and Ubuntu run\n"
        "    sudo apt install python3.11 python3.11-venv\n"
        "(elsewhere install one from python.org), then start: python3.11 server.py"
        % sys.version_info[:2]
    )

from kernel import stamps  # which imports nothing, as every start passes here


def main() -> None:
    """Hand over to the kernel, which runs in an environment of its own."""
    arguments = sys.argv[1:]
    if not stamps.held(VENV, LOCK).issuperset(stamps.BASE):
        from pathlib import Path  # noqa: PLC0415 - these take longer than all else here

        from kernel.first_start import set_up  # noqa: PLC0415

        set_up(Path(VENV), Path(LOCK))
    if "--setup-only" in arguments:
        print("Spindle is set up. Start it with: python server.py")
        return
    # -P and PYTHONPATH: `kernel` is the one beside this file, whatever folder this is started in.
    os.environ["PYTHONPATH"] = ROOT
    os.environ.setdefault("PYTHONUTF8", "1")  # also where output goes to a file on Windows
    words = arguments if arguments and not arguments[0].startswith("-") else ["serve", *arguments]
    command = [stamps.interpreter(VENV), "-P", "-m", "kernel", *words]
    if sys.platform != "win32":
        os.execv(command[0], command)
    import subprocess  # noqa: PLC0415

    with subprocess.Popen(command) as server:  # Windows has no exec: stay, and end with it
        while server.poll() is None:
            try:
                server.wait()
            except KeyboardInterrupt:
                print("Stopping.")  # the server had the same Ctrl-C
        sys.exit(server.returncode)


if __name__ == "__main__":
    main()
