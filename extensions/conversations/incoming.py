"""Files on their way in: they come in parts, and are read as a job."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kernel.api import Everyone, Extension, Job, Refused

from .records import Rearranged, StoreFailed
from .store import Store

if TYPE_CHECKING:
    from .archives import Member

T = TypeVar("T")
BATCH = re.compile(r"[0-9a-f]{16,64}")
MOST_FILES, MOST_BYTES, MOST_BATCHES = 50_000, 4_000_000_000, 20
"""Of one import; and how many may be on their way at once."""
TOLD = 50
"""Files that could not be read and are named."""
BROKEN = "It is damaged, or of a kind that cannot be read here."
STOPPED = (
    "Not everything was imported. {} After that choose the files again: what is here already is "
    "not taken twice."
)
NO_ROOM = "The files could not be kept: {}. Mend that, then choose them again."


class Imported(msgspec.Struct):
    """What became of an import so far."""

    new: int = 0
    messages: int = 0
    known: int = 0
    files: int = 0
    bad: list[tuple[str, str]] = msgspec.field(default_factory=list[tuple[str, str]])
    """Names of files, each with the reason why it could not be read."""
    more_bad: int = 0
    over: bool = False

    def refuse(self, name: str, why: str) -> None:
        if len(self.bad) < TOLD:
            self.bad.append((name, why))
        else:
            self.more_bad += 1


class Incoming:
    """What is being imported, and what was imported last."""

    def __init__(self, ext: Extension[Any], store: Store, changed: Callable[[], None]) -> None:
        self.last: Imported | None = None
        self._ext, self._store, self._changed = ext, store, changed
        self._folder = ext.data / "incoming"
        self._names: dict[str, dict[int, tuple[str, float]]] = {}
        """Of each batch the files' names, and when they were modified, in seconds."""
        self._sizes: dict[str, int] = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    async def part(self, request: Request) -> Response:
        """A part of a file, `at` so many bytes from its beginning; answers 204."""
        batch, number = request.path_params["batch"], request.path_params["number"]
        name, at = request.query_params.get("name", ""), request.query_params.get("at", "0")
        modified = request.query_params.get("modified", "")
        if not BATCH.fullmatch(batch) or not number.isdecimal() or not at.isdecimal() or not name:
            return PlainTextResponse("The page sent something unreadable. Reload it.", 400)
        if why := self._too_much(batch, int(number[:9])):
            return PlainTextResponse(why, 413)
        while batch not in self._names and len(self._names) >= MOST_BATCHES:
            await self._forget(next(iter(self._names)))  # The oldest: its page is gone, or gave up.
        data = await request.body()
        self._sizes[batch] = self._sizes.get(batch, 0) + len(data)
        when = int(modified[:15]) / 1000 if modified.isdecimal() else 0.0
        self._names.setdefault(batch, {})[int(number[:9])] = name[:1000], when
        file = self._folder / batch / str(int(number[:9]))
        try:
            if await self._ext.thread(_append, file, int(at[:15]), data):
                return Response(status_code=204)
        except OSError as error:
            await self._forget(batch)
            return PlainTextResponse(NO_ROOM.format(error.strerror), 507)
        return PlainTextResponse("A part of this file is missing. Choose it again.", 409)

    def take(self, batch: str) -> None:
        """Read what has come of a batch, as a job."""
        if batch not in self._names:
            raise Refused("No file has come. Choose the files again.")
        if self.last and not self.last.over:
            raise Refused("Conversations are being imported already. Wait for the end of that.")
        names = self._names.pop(batch)
        del self._sizes[batch]
        self.last = result = Imported()

        async def work(job: Job) -> None:
            try:
                await self._read(job, batch, names, result)
            finally:
                result.over = True
                await self._ext.thread(shutil.rmtree, self._folder / batch, True)
                self._changed()
                self._ext.emit(Rearranged())

        self._ext.job("Importing conversations", work)
        self._changed()

    # --- inside ------------------------------------------------------------------------

    def _too_much(self, batch: str, number: int) -> str:
        if number >= MOST_FILES or self._sizes.get(batch, 0) > MOST_BYTES:
            return "This is more than can be imported at once. Choose fewer files."
        return ""

    async def _forget(self, batch: str) -> None:
        """Leave out what has come of a batch."""
        self._names.pop(batch, None)
        self._sizes.pop(batch, None)
        await self._ext.thread(shutil.rmtree, self._folder / batch, True)

    async def _read(
        self, job: Job, batch: str, names: dict[int, tuple[str, float]], result: Imported
    ) -> None:
        from .archives import members  # noqa: PLC0415 - 8 ms of every start

        ids = list[str]()
        try:
            for done, (number, (name, modified)) in enumerate(sorted(names.items())):
                file = self._folder / batch / str(number)
                share = 1 / len(names)
                found = await self._found(name, result, partial(members, name, file, modified))
                for n, member in enumerate(found):
                    job.report((done + n / len(found)) * share, member.name)
                    ids += await self._member(member, result)
                    if why := self._store.failure:
                        raise StoreFailed(STOPPED.format(why))
        finally:
            await self._store.shelf.sort_in(ids)
        said = f"{result.new:,} conversation{'' if result.new == 1 else 's'} imported."
        if result.known:
            said += f" {result.known:,} {'was' if result.known == 1 else 'were'} here already."
        if count := len(result.bad) + result.more_bad:
            said += f" {count:,} could not be read: Settings, Conversations, names them."
        self._ext.tell(said, Everyone(), "note" if result.new or result.known else "error")

    async def _member(self, member: "Member", result: Imported) -> list[str]:
        """The ids of the conversations in a file that are new."""
        from .forms.reading import read  # noqa: PLC0415 - these are many

        result.files += 1
        wholes = await self._found(
            member.name, result, lambda: read(member.name, member.read(), member.modified)
        )
        ids = list[str]()
        for whole in wholes:
            if self._store.failure:  # The memory that is left is for what is said meanwhile.
                break
            try:
                id, new = await self._store.take(whole)
            except StoreFailed as error:
                result.refuse(member.name, str(error))
                continue
            except ValueError:  # Half a character, where no words stand.
                result.refuse(member.name, "It holds something that cannot be kept.")
                continue
            result.new += new
            result.known += not new
            result.messages += len(whole.messages) if new else 0
            ids += [id] if new else []
        return ids

    async def _found(self, name: str, result: Imported, look: Callable[[], list[T]]) -> list[T]:
        """What is in a file; nothing, and its name in the result, where it cannot be read."""
        from .forms.reading import Unreadable  # noqa: PLC0415 - as above

        try:
            return await self._ext.thread(look)
        except Unreadable as error:
            result.refuse(name, f"{error}.")
        except Exception:  # Archives have many ways to be broken, and the other files wait.
            self._ext.log.exception("%s could not be read", name)
            result.refuse(name, BROKEN)
        return []


def _append(file: Path, at: int, data: bytes) -> bool:
    """Add a part where the one before ended; False if that is elsewhere."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if (file.stat().st_size if file.exists() else 0) != at:
        return False
    with file.open("ab") as out:
        out.write(data)
    return True
