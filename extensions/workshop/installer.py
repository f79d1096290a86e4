"""From a source to a running extension: fetch, review, consent, environment, use."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from extensions.workshop import archives, repository, trees
from extensions.workshop.finding import Finding
from extensions.workshop.libraries import alone
from extensions.workshop.review import Review, review
from extensions.workshop.shelf import CHANGED, Shelf
from kernel.api import Kernel, Manifest, Refused

Say = Callable[[float | None, str], None]


class Installer:
    """Brings extensions in. Of what comes, nothing runs before `use`, which is told the consent."""

    endings = archives.ENDINGS
    parse = staticmethod(repository.parse)

    def __init__(self, kernel: Kernel, finding: Finding | None = None) -> None:
        self.kernel, self.finding = kernel, finding or Finding(kernel)
        self.shelf = Shelf(kernel.data / "installed")
        name = "staging" if finding else f"staging-{os.getpid()}"  # A terminal has its own.
        self.staging = kernel.data / "state" / "workshop" / name

    def fetch(
        self, source: str, say: Say, cancelled: Callable[[], bool], id: str = "", called: str = ""
    ) -> Review:
        """Copy what a source holds to the side and read its manifest; `id` is what it must be, and
        `called` how the source is called where that is not where it lies."""
        tree = self.staging / "tree"
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)
        path = Path(source).expanduser()
        if "://" in source or re.match(r"[\w.-]+@[\w.-]+:|-", source):
            say(None, "Asking the repository")
            repository.fetch(source, tree, cancelled)
        elif path.is_dir():
            trees.copy(path, tree)
            source = str(path.resolve())
        elif path.is_file() and path.name.endswith(archives.ENDINGS):
            say(None, "Unpacking")
            archives.unpack(path, tree)
            source = str(path.resolve())
        else:
            raise Refused(
                f"{source} is no folder, no archive ({', '.join(archives.ENDINGS)}) and no "
                "address. Look at how it is written."
            )
        source, manifest = called or source, trees.settle(tree)
        if id and manifest.id != id:
            raise Refused(f"That is {manifest.id}, not {id}. Look at the address.")
        current = self.shelf.get(manifest.id)
        if current and not self.shelf.folder(manifest.id, current.now).is_dir():
            current = None  # Its files went: it comes anew.
        before = None
        if current:
            with contextlib.suppress(ValueError):
                before = Manifest.read(self.shelf.folder(manifest.id, current.now))
        folder = tree / manifest.id
        sha256 = trees.digest(folder)
        pinned = current and current.now.source == source and "://" in source
        if current and pinned and current.now.sha256 != sha256:
            raise Refused(
                "The commit is the one that is installed, but its files are others. They are not "
                "taken: ask its author."
            )
        return review(self.kernel, folder, manifest, source, sha256, current, before)

    async def use(self, shown: Review, consent: str, say: Say) -> None:
        """Install what was reviewed, if the consent is to just that; the environment comes first,
        so that a failure or a kill leaves what was there."""
        tree = self.staging / "tree"
        if consent != shown.sha256:
            raise Refused(CHANGED)
        try:
            manifest = Manifest.read(tree / shown.id)
            same = await asyncio.to_thread(trees.digest, tree / shown.id) == consent
        except (OSError, ValueError):
            raise Refused(CHANGED) from None
        if not same:
            raise Refused(CHANGED)
        if manifest.worker:
            await prepare(self.kernel, manifest, say, tree / shown.id)
        say(None, f"Taking {manifest.name} in")
        permissions = list(manifest.permissions)
        said = manifest.version, shown.source, permissions
        await asyncio.to_thread(self.shelf.put, shown.id, tree, *said, agreed=consent)
        shutil.rmtree(self.staging, ignore_errors=True)
        await self.finding.refresh()

    async def back(self, id: str) -> str:
        """Go back to the version before; answers which that is."""
        version = await asyncio.to_thread(self.shelf.back, id)
        await self.finding.refresh()
        return version.version

    async def remove(self, id: str, *, libraries: bool = False) -> None:
        """Take an installed extension away; its settings and data stay. With the `libraries` go
        those that its engine alone had."""
        if not self.shelf.get(id):
            raise Refused(f"{self.kernel.name(id)} was not installed here, so it stays.")
        free = alone(self.kernel, id) if libraries else []
        pointer = self.shelf.root / f"{id}.json"
        await asyncio.to_thread(pointer.unlink)
        await self.finding.refresh()
        await asyncio.to_thread(self.shelf.remove, id)
        failures: list[str] = []
        for environment in free:
            try:
                await self.kernel.workers.remove(environment)
            except Refused as error:
                failures.append(str(error))
        if failures:
            raise Refused(" ".join(failures))

    def newest(self, id: str, cancelled: Callable[[], bool]) -> str:
        """Where an update would come from: the newest commit, or the same folder or archive."""
        current = self.shelf.get(id)
        if not current:
            raise Refused(f"{id} was not installed here. What came with Spindle comes with it.")
        source = current.now.source
        if "://" in source:
            return repository.newest(source, self.staging / "ask", cancelled)
        if not Path(source).is_absolute() or Path(source).is_relative_to(self.staging.parent):
            raise Refused(
                f"It came as the archive {Path(source).name}. Drop a newer one here to update it."
            )
        if not Path(source).exists():
            raise Refused(
                f"It came from {source}, which is not there. Bring the new version itself."
            )
        return source


async def prepare(kernel: Kernel, manifest: Manifest, say: Say, folder: Path | None = None) -> None:
    """Build the environment of an extension's engine, or of one that is about to come and lies in
    this `folder`; raises Refused with what to do."""
    try:
        said: Callable[[float, str], None] = say
        await kernel.workers.prepare(manifest, kernel.variant(manifest), said, folder)
    except RuntimeError as error:
        raise Refused(str(error)) from None
