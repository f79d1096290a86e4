"""What need not be read and run anew for each test: the code and manifests of this checkout.

Reading and running them is two thirds of what it costs to start a server. They are files that no
test changes, and their modules hold no state (the conformance suite sees to that), so a server of a
test gets those that the one before it left. Within one test all is as it is: what is switched off
and on again is run again, and so is all that lies elsewhere.
"""

import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from kernel import life
from kernel.discovery import Discovery
from kernel.manager import Kernel
from kernel.manifest import Manifest
from kernel.records import Record

BUILT_IN = Path(__file__).parents[2] / "extensions"
MODULES: dict[str, ModuleType] = {}
"""Those of all extensions, by name; one may hold classes of another, so all are kept or none."""
MANIFESTS: dict[Path, tuple[Manifest, object]] = {}
"""With the stamp of their files, which are read again when that is another one."""
PACKAGED: dict[tuple[tuple[str, int], ...], list[Path]] = {}
"""What Python packages bring, by when a package came or went at last: each is asked for it."""


class Found(Discovery):
    """Finds what is there, and reads what changed."""

    def folders(self, packaged: Iterable[Path] | None = None) -> Iterator[tuple[str, Path]]:
        if packaged is None:
            now = tuple((place, _changed(place)) for place in sys.path)
            if now not in PACKAGED:
                PACKAGED.clear()
                PACKAGED[now] = self.packaged()
            packaged = PACKAGED[now]
        return super().folders(packaged)

    def found(self) -> Iterator[Record]:
        for id, folder in self.folders():
            record = Record(id, folder)
            record.manifest, record.stamp = MANIFESTS.get(folder, (None, None))
            record.read()
            if record.manifest:
                MANIFESTS[folder] = record.manifest, record.stamp
            yield record


def _changed(place: str) -> int:
    """When something came to a folder or went, in nanoseconds; 0: there is none."""
    with suppress(OSError):
        return os.stat(place or ".").st_mtime_ns
    return 0


@contextmanager
def modules(kernel: Kernel) -> Generator[None]:
    """Each extension's first start in the block finds its modules there, if they ran before."""
    run, waiting = life.run_module, set[str]()
    # A test that imported, and perhaps patched, means its own.
    if kernel.only and not present(kernel):
        sys.modules.update(MODULES)
        waiting = {name for name in MODULES if name.count(".") == 1}

    async def run_module(record: Record) -> ModuleType:
        name = f"extensions.{record.id}"
        if record.folder.parent != BUILT_IN or name not in waiting:
            return await run(record)
        waiting.remove(name)
        return sys.modules[name]

    life.run_module = run_module
    try:
        yield
    finally:
        life.run_module = run


def keep(kernel: Kernel) -> None:
    """Keep what was run of this checkout; nothing where some of it is not what is kept already."""
    names = [
        n for n in present(kernel) if kernel.records[n.split(".")[1]].folder.parent == BUILT_IN
    ]
    ran = {name: sys.modules[name] for name in names}
    if all(MODULES.get(name, module) is module for name, module in ran.items()):
        MODULES.update(ran)


def forget(kernel: Kernel) -> None:
    """Drop the modules of all that it knows: what did not run may hold classes of what did."""
    for name in present(kernel):
        del sys.modules[name]


def present(kernel: Kernel) -> list[str]:
    """The modules of the extensions that it knows."""
    names = [name for name in sys.modules if name.startswith("extensions.")]
    return [name for name in names if name.split(".")[1] in kernel.records]
