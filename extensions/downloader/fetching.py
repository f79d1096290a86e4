"""A whole download in the worker: room for it, the files of each group, and their publication."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from kernel.contract import Refused, Report

from .board import Board
from .files import TAKEN, File
from .news import News, Wishes
from .pace import Pace
from .plan import Plan
from .staging import METADATA, Group, groups, metadata, parts_of
from .trouble import Stopped, size_of
from .way import Way
from .wire import Home
from .xet import Xet

SPARE = 64 << 20
"""Bytes that stay free."""


class Space:
    """Who has still to write how much: several downloads together must fit, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[int, tuple[int, Callable[[], int]]] = {}

    def claim(self, who: int, folder: Path, to_come: Callable[[], int]) -> None:
        """`to_come` tells how many bytes, at any time. Raises Refused where there is not enough
        room on the folder's disk."""
        disk = folder.stat().st_dev
        with self._lock:
            same = [claim for key, (at, claim) in self._claims.items() if key != who and at == disk]
            count, others = to_come(), sum(claim() for claim in same)
            free = shutil.disk_usage(folder).free - others - SPARE
            if count > free:
                more = " (other downloads need room as well)" if others else ""
                raise Refused(
                    f"There is not enough room: {size_of(count)} are still to come, and "
                    f"{size_of(max(free, 0))} are free{more}. Free at least "
                    f"{size_of(count - free)}, then start it again; nothing is lost."
                )
            self._claims[who] = disk, to_come

    def release(self, who: int) -> None:
        with self._lock:
            self._claims.pop(who, None)


class Download:
    """One plan below one root; `run` is called anew to go on after a stop."""

    def __init__(
        self, plan: Plan, root: Path, home: Home, wishes: Wishes, pace: Pace, space: Space
    ) -> None:
        self.plan, self.root = plan, root.resolve()
        self._wishes, self._space = wishes, space
        self._home, self._pace = home, pace
        self._groups = groups(plan, self.root)
        self._files: list[File] = []
        self._xet: Xet | None = None
        self._told = 0.0
        self._full = ""
        names = [part for item in plan.items for part in item.path.split("/")]
        folders = plan.folder.split("/") if plan.folder else ()
        for name in (*folders, *names):
            if name in ("", ".", "..") or set(name) & set("/\\:\0"):
                said = ascii(name)[1:-1]
                raise Refused(f"“{said}” cannot be a file's name. Nothing was fetched.")

    def run(self, report: Report, cancelled: Callable[[], bool]) -> News:
        """Fetch what is missing; answers how it ended. Raises Refused, and Stopped on a wish."""

        def tick() -> None:
            if cancelled():
                raise Stopped
            self._tell(report)

        def waiting() -> None:
            tick()
            report(0, _told(self.news("Another download of it is under way; waiting for that")))
            time.sleep(0.2)

        if cancelled():  # Before it began: it leaves no folder, and tells nothing.
            raise Stopped
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            for group in self._groups:
                group.check_links()
            for group in self._groups:
                with group.alone(waiting):
                    self._fetch(group, tick)
                if self._full:
                    break
        finally:
            self._space.release(id(self))
        return self.news()

    def _fetch(self, group: Group, tick: Callable[[], None]) -> None:
        if self._wishes.clean:
            group.discard()
        wishes = self._wishes
        xet = None
        if wishes.xet and not (self._xet and self._xet.trouble):
            self._xet = xet = Xet(
                self.plan, self._home, self._pace, group.staging / "xet", wishes.threads,
                wishes.stall,
            )  # fmt: skip
        way = Way(self._home, self._pace, *wishes.patience, xet)
        files = [
            File(i, group.target(i), group.part(i), way, alone=not self.plan.folder)
            for i in group.items
        ]
        self._files += files
        self._space.claim(id(self), self.root, lambda: _to_come(files))
        board = Board(files, way)
        board.run(tick)
        if board.full:
            self._full = (
                f"The disk is full. Free {size_of(_to_come(files) + SPARE)}, then let it go "
                "on; what was fetched is kept."
            )
        else:
            self._publish(group, files)

    def _publish(self, group: Group, files: list[File]) -> None:
        """Move all of a group into its place, if all of it is right."""
        ready = [file for file in files if file.state == "right"]
        for file in ready:
            if not file.part_file.is_file():
                file.state, file.why = "failed", "It was removed meanwhile. Fetch it once more."
            elif file.taken:  # It came while this was on its way.
                file.state, file.why = "failed", TAKEN
        if any(file.state == "failed" for file in files):
            return
        try:
            group.publish([file.item for file in ready])
            if self.plan.folder:
                self._describe()
        except OSError as error:
            raise Refused(
                f"All is there, but could not be moved to “{self.plan.folder or self.root.name}” "
                f"({error.strerror}). Look at the folder, then start it again."
            ) from error
        group.clear()

    def _describe(self) -> None:
        if any(item.path == METADATA for item in self.plan.items):
            return
        date = time.strftime("%Y-%m-%d %H:%M:%S")
        file = self.root.joinpath(*parts_of(self.plan.folder), METADATA)
        if not file.is_symlink():
            file.write_text(metadata(self.plan, date), "utf-8")

    # --- telling ---

    def _tell(self, report: Report) -> None:
        now = time.monotonic()
        if now - self._told >= 0.2:
            self._told = now
            report(0, _told(self.news()))

    def news(self, rests: str = "") -> News:
        """How far it is."""
        files, total = self._files, self.plan.size
        going = [file for file in files if file.state == "open"]
        resting = [file.rests for file in going if file.rests]
        return News(
            have=min(sum(file.have for file in files), total),
            total=total,
            done=sum(file.state in ("right", "here") for file in files),
            files=len(self.plan.items),
            fetched=sum(file.part.fetched for file in files if file.part),
            now=tuple(file.item.path for file in going[:4]),
            rests=rests or (resting[0] if resting and len(resting) == len(going) else ""),
            failed={file.item.path: file.why for file in files if file.state == "failed"},
            aside=self._xet.trouble if self._xet else "",
            full=self._full,
        )


def _to_come(files: Sequence[File]) -> int:
    """Bytes that have still to be written, as far as the disk tells; any thread may ask."""
    return sum(_missing(file) for file in files)


def _missing(file: File) -> int:
    there, used = _stat(file.target), _stat(file.part_file)
    if file.state in ("right", "here") or (there and there.st_size == file.item.size):
        return 0
    full = -(-used.st_size // 512) if used else 0
    blocks = getattr(used, "st_blocks", full) * 512  # Windows counts none
    return max(file.item.size - blocks, 0)


def _stat(file: Path) -> os.stat_result | None:
    """None where there is no such file, or none any more."""
    with suppress(OSError):
        return file.stat()
    return None


def _told(news: News) -> str:
    return msgspec.json.encode(news).decode(errors="replace")


def download(
    data: Mapping[str, Any],
    pace: Pace,
    space: Space,
    report: Report,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """The call `fetch`: plan, root, endpoint, token and wishes as plain data."""
    plan = msgspec.convert(data["plan"], Plan)
    wishes = msgspec.convert(data.get("wishes", {}), Wishes)
    token = data.get("token", "")
    home = Home(data.get("endpoint", ""), f"Bearer {token}" if token else "")
    work = Download(plan, Path(data["root"]), home, wishes, pace, space)
    return msgspec.to_builtins(work.run(report, cancelled))
