"""Check everything: `python -m tests`, with nothing but Python 3.11 installed.

It sets up what the checks need, runs ruff, pyright and pytest, and hands arguments it does not
know to pytest: `python -m tests -k name`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("The tests need Python 3.11 or newer; this is %d.%d." % sys.version_info[:2])

from kernel.environments import Environment, EnvironmentFailed, build, ready, remove
from tools.lock import declared

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
}
COMPILED = "llama-cpp-python==0.3.36"
"""What is built from source, by extensions/llama_cpp/building.py."""
COMPILER = ("g++", "make")
CHROMIUM = ("chromium", "fonts-noto-core")
"""Debian's packages for the browser tests."""
SHELL = "chromium-headless-shell"
PROGRAMS = ("espeak-ng", "git", "openssl", "curl")
"""What some tests call, named as Debian's packages are."""
LONGEST = 600
"""Seconds that an ordinary run may take on two cores, setting up aside."""


def main() -> int:
    """Run the checks; 0 if all of them passed."""
    parser = argparse.ArgumentParser("python -m tests", description=__doc__)
    parser.add_argument("--only", choices=("ruff", "pyright", "pytest"), help="run just this")
    parser.add_argument("--long", action="store_true", help="run the long tests too")
    parser.add_argument(
        "--environments-dir",
        type=Path,
        default=ROOT / "data" / "environments",
        help="where engines are installed; kept for the next run",
    )
    options, others = parser.parse_known_args()
    os.chdir(ROOT)
    python = prepare(Environment(".venv-tests", (), ROOT / "requirements-tests.lock"), ROOT)

    began = time.monotonic()
    results = [
        check(name, python, *(argument.format(python) for argument in command))
        for name, command in CHECKS.items()
        if options.only in (None, command[0])
    ]
    if options.only == "ruff":
        return failed(code for code, _ in results)
    types = begin_types(python) if options.only in (None, "pyright") else None
    if types and options.only:
        return failed([end_types(types)])

    sets_up = time.monotonic()
    not_built = prepare_engines(python, options.environments_dir.resolve())
    if not install(CHROMIUM, "chromium"):
        print("The browser tests will not run: see the end of this output.", flush=True)
    install((SHELL,), SHELL)  # Without it the whole browser takes a fifth longer.
    for program in PROGRAMS:
        if not install((program,), program):
            print(f"The tests that call {program} will not run.", flush=True)
    began += time.monotonic() - sets_up
    os.environ.update(
        OMP_WAIT_POLICY="PASSIVE",  # spinning threads make torch 12 times slower on few cores
        HF_HUB_OFFLINE="1",
        SPINDLE_ENVIRONMENTS_DIR=str(options.environments_dir.resolve()),
        SPINDLE_CHECKS="\n".join(line for _, line in results),  # conftest.py prints them at the end
        SPINDLE_NOT_BUILT=not_built,
    )
    # Without bytecode the hundreds of servers that tests start compile all sources each time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if options.long:
        others.append("--long")
    if not any(argument.startswith("-n") for argument in others):
        # Tests wait for servers, engines and browsers: five at once fill two cores. The longest
        # files have the fewest tests; sorted by that, as is the default, they would come last.
        others = ["-n", "5", "--dist", "loadfile", "--no-loadscope-reorder", *others]
    pytest = subprocess.run([python, "-m", "pytest", *others], check=False)
    codes = [pytest.returncode, *(code for code, _ in results)]
    if types:
        codes.append(end_types(types))
    print(took(time.monotonic() - began, long=options.long), flush=True)
    return failed(codes)


def failed(codes: "Iterable[int]") -> int:
    """1 if any check failed; that of one which a signal ended is below 0."""
    return int(any(codes))


def took(seconds: float, *, long: bool) -> str:
    """The last line: how long it took, and whether that is too long."""
    minutes, rest = divmod(round(seconds), 60)
    more = "" if long or seconds <= LONGEST else f", more than the {LONGEST // 60} it may take"
    return f"It all took {minutes} min {rest} s{more}."


def prepare(env: Environment, root: Path) -> str:
    """Build an environment unless it is ready, and return its interpreter."""
    began = time.monotonic()
    if not ready(env, root):
        print(f"Setting up {env.name} ...", flush=True)
    try:
        python = build(env, root, lambda _fraction, _note: None, lambda: False)
    except EnvironmentFailed as error:
        sys.exit(f"The tests cannot run. {error}")
    print(f"{env.name} is ready ({time.monotonic() - began:.1f} s)", flush=True)
    return str(python)


def prepare_engines(python: str, root: Path) -> str:
    """Make the engines' environments; answers why what is compiled is missing, or nothing."""
    wanted = declared()
    compiled = [env for env in wanted.values() if COMPILED in env.requirements]
    problem = compile_engine(python, root) if compiled else ""
    for name, env in wanted.items():
        if problem and env in compiled:
            if name.rpartition("-")[0] in wanted:  # Without it, it would be another one.
                continue
            env = replace(env, requirements=tuple(r for r in env.requirements if r != COMPILED))
        prepare(env, root)
    return problem


def compile_engine(python: str, root: Path) -> str:
    """Build the wheel, unless it is there or nothing needs it; answers why it could not be."""
    wheels = root / "wheels"
    before = {each: each.stat().st_mtime_ns for each in wheels.glob("*/*.whl")}
    needed = [env for env in declared().values() if COMPILED in env.requirements]
    if not before and all(ready(env, root) for env in needed):
        return ""
    install(COMPILER, "c++")
    print(f"Building {COMPILED}: 12 minutes of a processor, once ...", flush=True)
    command = [python, "-m", "extensions.llama_cpp.building", str(root)]
    built = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        print(built.stderr, flush=True)
        return built.stderr.strip() or "The build was killed."
    after = {each: each.stat().st_mtime_ns for each in wheels.glob("*/*.whl")}
    for env in needed if before and before != after else ():
        remove(env.name, root)  # It was made for another processor.
    return ""


def install(packages: "tuple[str, ...]", program: str) -> bool:
    """Have a program, installing Debian's packages where it is missing and that may be done."""
    if not shutil.which(program) and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        print("Installing", *packages, "...", flush=True)
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            quiet = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", *command]
            subprocess.run(quiet, stdout=subprocess.DEVNULL, check=False)
    return bool(shutil.which(program))


def check(name: str, python: str, module: str, *arguments: str) -> "tuple[int, str]":
    """Run one check and return its exit status and its line of the summary."""
    print(f"--- {name}", flush=True)
    began = time.monotonic()
    code = subprocess.run([python, "-m", module, *arguments], check=False).returncode
    line = f"{name:12} {'FAILED' if code else 'passed'} in {time.monotonic() - began:.1f} s"
    print(line, flush=True)
    return code, line


def begin_types(python: str) -> "subprocess.Popen[str]":
    """Start pyright beside the tests, which leave a fifth of two processors idle."""
    print("--- pyright, beside the tests", flush=True)
    command = [python, "-m", "pyright", "--pythonpath", python]
    # With room for what is young, Node collects less often: a seventh of pyright's time.
    env = {"NODE_OPTIONS": "--max-semi-space-size=64", **os.environ}
    out = subprocess.PIPE
    return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, env=env)


def end_types(types: "subprocess.Popen[str]") -> int:
    """Wait for it, say what it found, and return its exit status."""
    said, _ = types.communicate()
    print(f"{said.rstrip()}\npyright      {'FAILED' if types.returncode else 'passed'}", flush=True)
    return types.returncode


if __name__ == "__main__":
    sys.exit(main())
