"""Start Spindle. The first start makes .venv beside this file; everything else is in kernel/."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("SPINDLE_VENV", ROOT / ".venv")).absolute()

if sys.version_info < (3, 11):
    sys.exit(
        "Spindle needs Python 3.11 or newer; this is %d.%d. On Debian and Ubuntu run\n"
        "    sudo apt install python3.11 python3.11-venv\n"
        "(elsewhere install one from python.org), then start: python3.11 server.py"
        % sys.version_info[:2]
    )

from kernel import environments


def show(fraction: float, note: str) -> None:
    """Draw one line of progress, over and over; a log gets none of it."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K  {fraction:4.0%}  {note[:70]}", end="", flush=True)


def compiling() -> AbstractContextManager[object]:
    """Write Spindle's bytecode, as pip does that of the packages; waits for it on leaving."""
    if sys.dont_write_bytecode:
        return nullcontext()
    command = [sys.executable, "-m", "compileall", "-q", ROOT / "kernel", ROOT / "extensions"]
    quiet = subprocess.DEVNULL  # What cannot be written or read shows itself soon enough.
    return subprocess.Popen(command, stdout=quiet, stderr=quiet)


def set_up() -> Path:
    """Make the server's own environment, unless it is there already."""
    env = environments.Environment(VENV.name, (), lock=ROOT / "requirements.lock")
    if environments.ready(env, VENV.parent):
        return environments.python_of(VENV)
    print(f"Setting up Spindle in {VENV}: once, in less than a minute.", flush=True)
    try:
        with compiling():  # beside pip, which waits for the network most of the time
            python = environments.build(env, VENV.parent, show, lambda: False)
    except environments.EnvironmentFailed as error:
        hint = "\n(SPINDLE_VENV=FOLDER is another place.)" if error.__cause__ else ""
        sys.exit(f"\nSpindle could not be set up. {error}{hint}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The next start sets up Spindle from the beginning.")
    show(1, "\n")
    return python


def main() -> None:
    """Hand over to the kernel, which runs in an environment of its own."""
    arguments = sys.argv[1:]
    python = set_up()
    if "--setup-only" in arguments:
        print("Spindle is set up. Start it with: python server.py")
        return
    # -P and PYTHONPATH: `kernel` is the one beside this file, whatever folder this is started in.
    os.environ["PYTHONPATH"] = str(ROOT)
    words = arguments if arguments and not arguments[0].startswith("-") else ["serve", *arguments]
    command = [str(python), "-P", "-m", "kernel", *words]
    if sys.platform != "win32":
        os.execv(command[0], command)
    with subprocess.Popen(command) as server:  # Windows has no exec: stay, and end with it
        while server.poll() is None:
            try:
                server.wait()
            except KeyboardInterrupt:
                print("Stopping.")  # the server had the same Ctrl-C
        sys.exit(server.returncode)


if __name__ == "__main__":
    main()
