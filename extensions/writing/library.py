"""The texts of the user: files of words, read and kept where they are."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kernel.api import Extension, Refused, write

from . import files
from .files import Entry
from .sheet import MOST, Change, Sheet
from .trash import Trash

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds from a change to its file."""
AGAIN = 5.0
"""Seconds until what could not be saved is tried again."""
KEPT = 40
"""Texts that stay in memory although no page shows them, with what can be taken back."""
STARTER = "It had rained all night, and in the morning the river was at the door."
"""What the very first text begins with: a sentence to go on from."""
TEXT, OUTPUT = "text", "output"
"""The boxes of a text: what is written, and what Default makes of it."""
GONE = "There is no text “{}” any more. Choose another one."
TAKEN = "There is a text called “{}” already. Choose another name."
BUSY = "This text is being written. Stop it first."
TOO_LARGE = "“{}” has {:,} bytes, too many for a text box."
UNSAVED = "“{}” cannot be saved: {}. Its words stay here while Spindle runs."
FOREIGN = -1
"""In a stamp's place, of a file that is no UTF-8: it is kept as it is before it is written."""
OTHER = "“{}” was changed by another program. Its version is among the deleted texts."


def words_of(data: bytes) -> tuple[str, bool]:
    """The words of a file, and whether it was UTF-8: else older programs wrote it, most likely."""
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if marked else ("utf-8", "cp1252"):
        with suppress(UnicodeError):
            return data.decode(encoding), encoding == "utf-8"
    return data.decode("latin-1"), False


class Library:
    """All texts, by name; those that pages look at are sheets."""

    def __init__(self, ext: Extension[Any]) -> None:
        data, beside = ext.data_root, ext.models.parent
        self.ext = ext
        self.own = data / "notebook"
        self.outputs = data / "default"
        olds = [f / p for f in (data, beside) for p in ("prompts", "logs/notebook")]
        self._folders = [self.own, *dict.fromkeys(olds)]
        self.trash = Trash(self.own / "trash")
        self._files: dict[str, Entry] = {}
        self._sheets: dict[tuple[str, str], Sheet] = {}
        self._stamps: dict[Path, int] = {}
        """When the files of sheets were changed last, as far as we know."""
        self._listeners: list[Callable[[Sheet, Change | None], None]] = []
        self._saving: dict[Sheet, asyncio.Task[None]] = {}
        self._filing = asyncio.Lock()
        """Held by whoever writes or moves a file."""
        self._first = ""
        """The name of a text that is no file yet."""
        self.listed: list[Callable[[str, str], None]] = []
        """Told the old and the new name of a text, one of them empty where it came or went."""

    # --- what there is -----------------------------------------------------------------

    async def list(self) -> Sequence[Entry]:
        """The files, newest first."""
        self._files = await self.ext.thread(files.scan, self._folders)
        return self.entries

    @property
    def entries(self) -> Sequence[Entry]:
        """The same as of the last look."""
        return sorted(self._files.values(), key=lambda entry: -entry.changed)

    async def sheet(self, name: str, box: str = TEXT) -> Sheet:
        """A text as it is now; raises Refused where there is none."""
        sheet = self._sheets.get((name, box))
        if name not in self._files:
            await self.list()
        if name not in (*self._files, self._first) and not sheet:
            raise Refused(GONE.format(name))
        path = self._path(name, box)
        if sheet:
            await self._follow(sheet, path)
        else:
            text, self._stamps[path] = await self._read(path)
            sheet = self._sheets.setdefault((name, box), Sheet(name, box, text, self._heard))
            self._forget()
        return sheet

    async def _follow(self, sheet: Sheet, path: Path) -> None:
        """Take what another program wrote, unless more was typed here since."""

        def calm() -> bool:
            return sheet.saved and not sheet.busy

        if not calm():
            return
        async with self._filing:  # Else it might be what is just being written here.
            if await self.ext.thread(files.stamp, path) == self._stamps.get(path):
                return
            text, stamp = await self._read(path)
            if not calm():
                return
            self._stamps[path] = stamp
            if stamp:  # Else it is gone, or its disk is: what is here may be the last of it.
                sheet.replace(text)
                sheet.saved = True

    def render(self, template: str, **context: Any) -> str:
        """One of this extension's templates, for whoever has a tab of free text."""
        return self.ext.render(template, **context)

    def known(self, name: str, box: str = TEXT) -> Sheet | None:
        """The sheet, where one is open."""
        return self._sheets.get((name, box))

    def listen(self, heard: Callable[[Sheet, Change | None], None]) -> Callable[[], None]:
        """Hear of every change of every text; answers how to stop that."""
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard)

    # --- what becomes of it ------------------------------------------------------------

    async def newest(self) -> str:
        """The text that was changed last; where there is none, a first one, which becomes a file
        when somebody writes in it: looking at a page changes nothing."""
        entries = await self.list()
        if entries:
            return entries[0].name
        self._first = name = self._first or time.strftime("%Y-%m-%d %H.%M")
        if (name, TEXT) not in self._sheets:
            self._sheets[name, TEXT] = Sheet(name, TEXT, STARTER, self._heard)
            self._stamps[self._path(name, TEXT)] = 0
        return name

    async def new(self, text: str, name: str = "") -> str:
        """Begin a text; answers its name."""
        async with self._filing:  # Who begins two at once gets two.
            await self.list()
            name = self._free(files.possible(name) or time.strftime("%Y-%m-%d %H.%M"))
            path = files.path_of(self.own, name)
            await self.ext.thread(write, path, text.encode("utf-8", "replace"))
            await self.list()
        self._changed("", name)
        return name

    async def rename(self, name: str, title: str) -> str:
        """Another name for a text; answers it."""
        title = title.strip()
        if title == name:
            return name
        async with self._filing:  # Who renames twice at once gets what they asked for last.
            await self.list()
            if files.same(title) in self._taken(name):
                raise Refused(TAKEN.format(title))
            path = await self._idle(name)
            new = files.path_of(path.parent, title)
            output = files.path_of(self.outputs, title)
            moves = ((TEXT, path, new), (OUTPUT, self._path(name, OUTPUT), output))
            for _, old, at in moves:
                await self.ext.thread(files.move, old, at)
            for box, old, at in moves:
                stamp, was = await self.ext.thread(files.stamp, at), self._stamps.pop(old, 0)
                self._stamps[at] = FOREIGN if was == FOREIGN else stamp
                if sheet := self._sheets.pop((name, box), None):
                    sheet.name = title
                    self._sheets[title, box] = sheet
            await self.list()
        self._changed(name, title)
        return title

    async def delete(self, name: str) -> str:
        """Put a text into the trash; answers the id that brings it back."""
        async with self._filing:
            await self.list()
            path = await self._idle(name)
            id = await self.ext.thread(self.trash.put, name, path, self._path(name, OUTPUT))
            for box in (TEXT, OUTPUT):
                self._sheets.pop((name, box), None)
            await self.list()
        self._changed(name, "")
        return id

    async def undelete(self, id: str) -> str:
        """Take a text out of the trash; answers its name, another one where that is taken."""
        async with self._filing:
            await self.list()
            name = self._free(files.kept_as(await self.ext.thread(self.trash.name, id)))
            to = [files.path_of(folder, name) for folder in (self.own, self.outputs)]
            await self.ext.thread(self.trash.take, id, *to)
            await self.list()
        self._changed("", name)
        return name

    async def close(self) -> None:
        """Keep what is not kept yet."""
        saving = [*self._saving.values()]
        for task in saving:
            task.cancel()
        await asyncio.gather(*saving, return_exceptions=True)
        self._saving.clear()
        for sheet in [*self._sheets.values()]:
            if not sheet.saved and (problem := await self._save(sheet)):
                log.warning("%s", problem)

    # --- inside ------------------------------------------------------------------------

    def _heard(self, sheet: Sheet, change: Change | None) -> None:
        mine = self._sheets.get((sheet.name, sheet.box)) is sheet
        if mine and not sheet.saved and sheet not in self._saving:
            self._saving[sheet] = self.ext.spawn(self._keep(sheet), f"save {sheet.name}")
        for listener in [*self._listeners]:
            listener(sheet, change)

    async def _keep(self, sheet: Sheet) -> None:
        """Save a sheet until what is kept is what it says."""
        failed = ""
        while not sheet.saved:
            await asyncio.sleep(AGAIN if failed else PAUSE)
            async with self._filing:
                failed = await self._save(sheet)
            if failed != sheet.unsaved:
                sheet.unsaved = failed
                sheet.tell()
        self._saving.pop(sheet, None)

    async def _save(self, sheet: Sheet) -> str:
        """Write its file; why that could not be."""
        if self._sheets.get((sheet.name, sheet.box)) is not sheet:
            sheet.saved = True  # It was deleted meanwhile.
            return ""
        if sheet.box == OUTPUT and (problem := await self._save_first(sheet.name)):
            return problem
        path, text = self._path(sheet.name, sheet.box), sheet.text
        sheet.saved = True  # What is typed while it is written is saved by the next turn.
        try:
            there = await self.ext.thread(files.stamp, path)
            if there not in (self._stamps.get(path, 0), 0):
                await self.ext.thread(self.trash.copy, sheet.name, path)
                self._stamps[path] = there  # It is kept: once is enough, however often this fails.
                log.warning("%s", OTHER.format(sheet.name))
            await self._written(path, text.encode("utf-8", "replace"))
            if sheet.box == TEXT and sheet.name not in self._files:
                await self.list()
                self._changed("", sheet.name)
        except OSError as error:
            sheet.saved = False
            return UNSAVED.format(sheet.name, error.strerror or error)
        except BaseException:  # Spindle ends: `close` keeps it.
            sheet.saved = False
            raise
        return ""

    async def _save_first(self, name: str) -> str:
        """A first text becomes a file where something came of it, which is found by that."""
        first = self._sheets.get((name, TEXT))
        if name != self._first or name in self._files or not first:
            return ""
        return await self._save(first)

    async def _written(self, path: Path, data: bytes) -> None:
        """Write a file; who is cancelled waits, too, so that nothing newer is overtaken."""

        def work() -> None:
            write(path, data)
            self._stamps[path] = files.stamp(path)  # Else it might be taken for another program's.

        writing = asyncio.ensure_future(self.ext.thread(work))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise

    async def _idle(self, name: str) -> Path:
        """The file of a text that nobody writes, with all that was typed in it."""
        if name == self._first and (name, TEXT) in self._sheets:
            await self._save(self._sheets[name, TEXT])
        if name not in self._files:
            raise Refused(GONE.format(name))
        for box in (TEXT, OUTPUT):
            sheet = self._sheets.get((name, box))
            if sheet and sheet.busy:
                raise Refused(BUSY)
            if sheet and not sheet.saved and (problem := await self._save(sheet)):
                raise Refused(problem)
        return self._files[name].path

    def _free(self, name: str) -> str:
        names = itertools.chain([name], (f"{name} {n}" for n in itertools.count(2)))
        taken = self._taken()
        return next(each for each in names if files.same(each) not in taken)

    def _taken(self, but: str = "") -> set[str]:
        """What no text but this one may be called; many disks tell no capitals apart."""
        return {files.same(each) for each in self._files if each != but}

    def _path(self, name: str, box: str) -> Path:
        if box == TEXT and (entry := self._files.get(name)):
            return entry.path
        return (self.own if box == TEXT else self.outputs) / f"{name}.txt"

    def _changed(self, old: str, new: str) -> None:
        for tell in [*self.listed]:
            tell(old, new)

    async def _read(self, path: Path) -> tuple[str, int]:
        """The words of a file, and its stamp."""

        def read() -> tuple[str, int]:
            if not path.is_file():
                return "", 0
            if (size := path.stat().st_size) > 4 * MOST:
                raise Refused(TOO_LARGE.format(path.stem, size))
            stamp = files.stamp(path)
            text, plain = words_of(path.read_bytes())
            if len(text) > MOST:
                raise Refused(TOO_LARGE.format(path.stem, size))
            return text, stamp if plain else FOREIGN

        text, stamp = await self.ext.thread(read)
        return text.removeprefix("\ufeff"), stamp

    def _forget(self) -> None:
        """Give up sheets that are kept and that nobody writes, the oldest first."""
        idle = [key for key, s in self._sheets.items() if s.saved and not s.busy]
        for key in idle[: max(0, len(self._sheets) - KEPT)]:
            del self._sheets[key]
