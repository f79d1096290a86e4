"""The first start: the server's own environment is made, and Spindle's sources compiled."""

import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from kernel.environments import Environment, EnvironmentFailed, build, in_use

ROOT = Path(__file__).resolve().parent.parent


def show(fraction: float, note: str) -> None:
    """Draw one line of progress, over and over; a log gets none of it."""
    if sys.stdout.isatty():
        words = note if note == "\n" else note[:70].ljust(70)
        print(f"\r  {fraction:4.0%}  {words}", end="", flush=True)


def compiling() -> AbstractContextManager[object]:
    """Write Spindle's bytecode, as pip does that of the packages; waits for it on leaving."""
    if sys.dont_write_bytecode:
        return nullcontext()
    command = [sys.executable, "-m", "compileall", "-q", ROOT / "kernel", ROOT / "extensions"]
    quiet = subprocess.DEVNULL  # What cannot be written or read shows itself soon enough.
    return subprocess.Popen(command, stdout=quiet, stderr=quiet)


def set_up(folder: Path, lock: Path) -> None:
    """Make the server's own environment in this folder."""
    if in_use(folder):
        sys.exit(f"Spindle runs in {folder}, which has to be made anew. Stop it, then start again.")
    with suppress(OSError):  # The disk behind a log is full, which need not be this one.
        print(f"Setting up Spindle in {folder}: once, in less than a minute.", flush=True)
    try:
        with compiling():  # beside pip, which waits for the network most of the time
            build(Environment(folder.name, (), lock), folder.parent, show, lambda: False)
    except EnvironmentFailed as error:
        hint = "(SPINDLE_VENV=FOLDER is another place.)"
        sys.exit(f"\nSpindle could not be set up. {error}\n{hint}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The next start sets up Spindle from the beginning.")
    show(1, "\n")
