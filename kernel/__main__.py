"""The command line behind server.py: `serve`, and commands of extensions."""

import asyncio
import gc
import importlib
import logging
import os
import sys
import threading
from contextlib import nullcontext, suppress
from pathlib import Path

try:
    gc.disable()  # What is imported stays; collecting among it is a tenth of a start.
    from kernel.contract import Refused
    from kernel.environments import hold
    from kernel.flags import Flags, parse
    from kernel.life import run_module
    from kernel.logs import Crowded, Discreet, discreet
    from kernel.remembered import Remembered
    from kernel.server import FOLDERS, ROOT, kernel_of, serve
except ImportError as missing:
    if (missing.name or "kernel").partition(".")[0] in ("kernel", "extensions"):
        raise
    if os.environ.get("PYTHONPATH") == os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        with suppress(OSError):  # server.py chose this Python, for its stamp.
            os.unlink(f"{sys.prefix}/stamp")
            sys.exit(f"{sys.prefix} is spoilt ({missing}). Start again: it is made anew then.")
    words = " ".join(["python server.py", *sys.argv[1:]])
    sys.exit(f"This Python has no {missing.name}, Spindle's own has it. In its folder run: {words}")

ENDING = 3.0
"""Seconds that tasks and threads which extensions left behind may hold up the end."""


def main() -> int:
    """Do what was asked for; answers the exit status."""
    try:
        run()
    except Refused as error:
        print("\n".join(map(discreet, str(error).split("\n"))), file=sys.stderr)
        return 1
    except PermissionError as error:
        if not error.filename or sys.platform == "win32":  # There it may be in use, for one.
            raise
        logging.debug("What may not be read or written:", exc_info=True)
        said = f"{error.filename} may not be read or written, as after a start with sudo. Make it"
        print(f"{said} and all that lies with it yours, then start again.", file=sys.stderr)
        return 1
    return 0


def run() -> None:
    """Run one command."""
    memory, used = Remembered(), hold(Path(sys.prefix))
    flags = parse(sys.argv[1:], ROOT, FOLDERS, memory)
    handler = logging.StreamHandler()
    handler.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    handler.addFilter(Crowded())
    logging.basicConfig(level="DEBUG" if flags.verbose else "WARNING", handlers=[handler])
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, logging.root.level))  # No words.
    with suppress(KeyboardInterrupt), used or nullcontext():
        asyncio.run(carry_out(flags) if flags.code else serve_and_end(flags, memory))


async def serve_and_end(flags: Flags, memory: Remembered) -> None:
    """Serve; what does not end by itself once all is closed and kept ends with the process."""
    try:
        await serve(flags, memory)
    finally:
        last = threading.Timer(ENDING, os._exit, (0,))
        last.daemon = True
        last.start()


async def carry_out(flags: Flags) -> None:
    """Run the command of an extension, with a kernel in which nothing is started."""
    gc.enable()
    kernel = kernel_of(flags)
    await run_module(kernel.records[flags.owner])
    file, _, function = flags.code.partition(".py:")
    module = importlib.import_module(f"extensions.{flags.owner}.{file}")
    await getattr(module, function)(kernel, **flags.arguments)


if __name__ == "__main__":
    sys.exit(main())
