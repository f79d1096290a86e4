"""The command line: `python -m kernel serve` (what server.py runs) and `install ID`."""

import asyncio
import logging
import sys
from contextlib import suppress

from kernel.environments import EnvironmentFailed, build
from kernel.flags import Flags, parse
from kernel.logs import Discreet
from kernel.manager import Kernel
from kernel.server import FOLDERS, ROOT, Unable, kernel_of, serve


def main() -> int:
    """Run one command; answers the exit status."""
    flags = parse(sys.argv[1:], ROOT, FOLDERS)
    handler = logging.StreamHandler()
    handler.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    level = logging.DEBUG if flags.verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler])
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(install(flags) if flags.command == "install" else serve(flags))
    except Unable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def install(flags: Flags) -> None:
    """Build the environments of the extensions named, and tell how far it is."""
    kernel = kernel_of(flags)
    for id in flags.targets:
        await asyncio.to_thread(_build, kernel, id)


def _build(kernel: Kernel, id: str) -> None:
    record = kernel.records.get(id)
    if not record or not record.manifest or not record.manifest.worker:
        raise Unable(f"{id} is no extension with an engine. Look into the folder extensions.")
    env = kernel.workers.environment(record.manifest, kernel.settings.variant(id))
    kernel.workers.root.mkdir(parents=True, exist_ok=True)
    try:
        build(env, kernel.workers.root, lambda f, note: print(f"{f:4.0%}  {note}"), lambda: False)
    except EnvironmentFailed as error:
        raise Unable(str(error)) from None
    print(f"{record.manifest.name} is installed.")


if __name__ == "__main__":
    sys.exit(main())
