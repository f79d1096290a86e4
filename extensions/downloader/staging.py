"""Where files grow until all that belongs together is right: hidden, locked, and then moved."""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kernel.contract import Refused

from .plan import Item, Plan

HIDDEN = ".downloads"
"""Below models/ or loras/: on the same disk, so that moving a file is one step."""
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.)")
METADATA = "huggingface-metadata.txt"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Group:
    """Files that are of use only together: a folder, or the parts of one GGUF."""

    def __init__(self, root: Path, folder: str, name: str, items: Sequence[Item]) -> None:
        self.items = tuple(items)
        self._root, self._folder = root, root.joinpath(*parts_of(folder))
        mark = hashlib.sha256(f"{folder}/{name}".encode()).hexdigest()[:12]
        self.staging = root / HIDDEN / f"{(name or parts_of(folder)[-1])[:60]}-{mark}"

    def target(self, item: Item) -> Path:
        """Where a file belongs."""
        return self._folder.joinpath(*parts_of(item.path))

    def part(self, item: Item) -> Path:
        """Where it grows: under a name that says nothing, so that none can clash."""
        return self.staging / f"{hashlib.sha256(item.path.encode()).hexdigest()[:32]}.part"

    def check_links(self, items: Sequence[Item] | None = None) -> None:
        """No file is written through a link. Raises Refused."""
        targets = [self.target(item) for item in (self.items if items is None else items)]
        folders = {folder for file in (self.staging / "x", *targets) for folder in file.parents}
        within = (folder for folder in folders if self._root in folder.parents)
        for path in (*targets, *within):
            if path.is_symlink():
                raise Refused(
                    f"“{path.relative_to(self._root)}” is a link, and downloads do not write "
                    "through links. Remove it, or choose another folder."
                )

    @contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Have the staging folder for oneself; another process that has it is waited for."""
        self.staging.mkdir(parents=True, exist_ok=True)
        while True:
            lock = os.open(self.staging / "lock", _FLAGS, 0o644)
            try:
                # Windows deletes no file that is open, and tells two of them apart in its own way.
                if _locked(lock) and (
                    sys.platform == "win32" or _same(lock, self.staging / "lock")
                ):
                    yield
                    return
            finally:
                os.close(lock)
            waiting()
            self.staging.mkdir(parents=True, exist_ok=True)

    def publish(self, ready: Sequence[Item]) -> None:
        """Move what is right into its place: what a model is told by comes last."""
        for item in sorted(ready, key=lambda item: item.path.endswith(".json")):
            target = self.target(item)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.check_links([item])
            os.replace(self.part(item), target)
            self.part(item).with_suffix(".state").unlink(missing_ok=True)
        for folder in {self.target(item).parent for item in ready}:
            _sync(folder)

    def discard(self) -> None:
        """Remove what grew of its own files. Raises OSError."""
        for item in self.items:
            for file in (self.part(item), self.part(item).with_suffix(".state")):
                file.unlink(missing_ok=True)

    def clear(self) -> None:
        """The same, and the staging folder, unless bytes of another download are in it."""
        with suppress(OSError):
            self.discard()
            if not any(part.stat().st_size for part in self.staging.glob("*.part")):
                shutil.rmtree(self.staging, ignore_errors=True)
                self.staging.parent.rmdir()


def groups(plan: Plan, root: Path) -> list[Group]:
    """What of a plan belongs together; a file at the top of models/ is a model of its own."""
    if plan.folder:
        return [Group(root, plan.folder, "", plan.items)]
    found: dict[str, list[Item]] = {}
    for item in plan.items:
        found.setdefault(SHARD.sub("", item.path), []).append(item)
    return [Group(root, "", name.rpartition("/")[2], items) for name, items in found.items()]


def parts_of(path: str) -> list[str]:
    """The names in a path whose slashes are the hub's."""
    return [part for part in path.split("/") if part]


def metadata(plan: Plan, date: str) -> str:
    """What is written beside the files, in the form that other programs know."""
    lines = [
        f"url: {plan.source or plan.repo}", f"branch: {plan.revision}",
        f"commit: {plan.commit}", f"download date: {date}", "sha256sum:",
    ]  # fmt: skip
    lines += [f"    {item.sha256} {item.path}" for item in plan.items if item.sha256]
    return "\n".join(lines) + "\n"


def _same(fd: int, path: Path) -> bool:
    """Whether the lock that was had is still the one that others would ask for."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _locked(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # This disk knows no locks.
        return True
    return True


def _sync(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        fd = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
