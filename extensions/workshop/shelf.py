"""What was installed: a tree for each version, and one small file that says which of them is used.

`data/installed/tts.json` names the tree `tts-0a1b2c3d4e5f`, in which the folder `tts` lies. Writing
that file is the only step of an update that counts: before it the old version is there, whole, and
after it the new one; so it can be killed anywhere. The tree before stays, to go back to.
"""

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from extensions.workshop.trees import digest
from kernel.api import Refused, Struct, built, safe_path, write

CHANGED = "What lies there is not what you were shown, so it was not installed. Look at it again."


class Version(Struct, frozen=True):
    """One version on the shelf."""

    tree: str
    sha256: str
    source: str
    version: str
    permissions: tuple[str, ...] = ()
    at: str = ""


@built
class Installed(Struct, frozen=True):
    """What is used of an extension, and what was before."""

    tree: str
    """As in `now`: the kernel reads nothing else."""
    now: Version
    before: Version | None = None


class Shelf:
    """The folder `data/installed`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def all(self) -> dict[str, Installed]:
        """What is installed, by id; a file that cannot be read counts as nothing."""
        found = {file.stem: self.get(file.stem) for file in sorted(self.root.glob("*.json"))}
        return {id: each for id, each in found.items() if each}

    def get(self, id: str) -> Installed | None:
        with suppress(OSError, ValueError, RecursionError):
            return msgspec.json.decode(self._file(id).read_bytes(), type=Installed)
        return None

    def folder(self, id: str, version: Version) -> Path:
        return safe_path(self.root, version.tree, id)

    def put(
        self, id: str, tree: Path, version: str, source: str, permissions: list[str], *, agreed: str
    ) -> None:
        """Take a tree in, whose folder `<id>` has the digest that was `agreed` to, and use it from
        now; raises Refused where it is another by now."""
        self.root.mkdir(parents=True, exist_ok=True)
        if (sha256 := digest(tree / id)) != agreed:
            raise Refused(CHANGED)
        place = self.root / f"{id}-{sha256[:12]}"
        old = self.get(id)
        used = (old.now.tree, old.before and old.before.tree) if old else ()
        if place.name not in used or not (place / id).is_dir() or digest(place / id) != sha256:
            shutil.rmtree(place, ignore_errors=True)  # half of a tree, of an earlier try
            _flush(tree)
            os.rename(tree, place)
            _flush_folder(self.root)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        now = Version(place.name, sha256, source, version, tuple(permissions), at)
        same = old and old.now.sha256 == sha256
        before = old.before if old and same else old.now if old else None
        self._use(id, Installed(now.tree, now, before))

    def back(self, id: str) -> Version:
        """Use the version before; the one that is left can be come back to."""
        current = self.get(id)
        if not current or not current.before:
            raise Refused(f"There is no earlier version of {id} to go back to.")
        before = current.before
        if digest(self.folder(id, before)) != before.sha256:
            raise Refused(
                f"The files of version {before.version} are not those that were installed, so they "
                "are not used. Install it again from its source."
            )
        self._use(id, Installed(before.tree, before, current.now))
        return before

    def remove(self, id: str) -> None:
        """Forget an extension and delete its trees."""
        self._file(id).unlink(missing_ok=True)
        _flush_folder(self.root)
        self._sweep(id)

    def touched(self, id: str) -> bool:
        """Whether the files in use are not those that were installed."""
        current = self.get(id)
        return bool(current) and digest(self.folder(id, current.now)) != current.now.sha256

    def _use(self, id: str, installed: Installed) -> None:
        write(self._file(id), msgspec.json.format(msgspec.json.encode(installed)))
        self._sweep(id)

    def _sweep(self, id: str) -> None:
        """Delete the trees of an extension that nothing names any more."""
        current = self.get(id)
        kept = {v.tree for v in (current.now, current.before) if v} if current else set[str]()
        for tree in self.root.glob(f"{id}-*"):
            if tree.name not in kept and len(tree.name) == len(id) + 13:
                shutil.rmtree(tree, ignore_errors=True)

    def _file(self, id: str) -> Path:
        return safe_path(self.root, f"{id}.json")


def _flush(folder: Path) -> None:
    """Have a whole tree on the disk before anything names it."""
    for where, _, names in os.walk(folder):
        for name in names:
            how = "rb+" if os.name == "nt" else "rb"  # Windows flushes only what can be written.
            with open(os.path.join(where, name), how) as file:
                os.fsync(file.fileno())
        _flush_folder(Path(where))


def _flush_folder(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
