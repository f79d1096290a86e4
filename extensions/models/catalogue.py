"""What is known of each model: read once, kept beside the stamp of its files, read anew when that
is another one."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from extensions.models.described import Described
from extensions.models.files import ModelFile
from extensions.models.headers import Answer, Headers
from kernel.api import Extension, built, write

RULES = 3
"""Another number when the rules of reading change: what was kept by other rules is read anew."""
SLICE = 0.3
"""Seconds of reading until what was found so far is shown."""
GROWING = 5.0
"""Seconds after its last change for which a file that makes no sense may still be on its way."""
PAUSE = 60.0
"""Seconds until what could not be read is read again: the disk was asleep, or memory short. Each
time that it cannot be read either, twice as many pass."""
LONGEST = 3600.0
"""The most seconds of such a pause."""
COMES = "It is being written, or was cut off. It is looked at again in a moment."
log = logging.getLogger(__name__)
Known = dict[str, tuple[int, Described]]


@built
class Kept(msgspec.Struct, frozen=True):
    """The file's content: by a model's name its stamp and what was read of it."""

    rules: int = 0
    known: Known = {}


class Catalogue:
    """Describes models in the background; `changed` is told when more is known."""

    def __init__(self, ext: Extension[Any], changed: Callable[[], Awaitable[None]]) -> None:
        self._ext, self._changed = ext, changed
        self._file = ext.data / "described.msgpack"
        self._known: Known = {}
        self._written: Known = {}
        """What the file holds."""
        self._unsure: Known = {}
        """What says something else in a moment, perhaps: it is not written down."""
        self._next: dict[str, float] = {}
        """When each of them is read again, in the seconds of `time.monotonic`."""
        self._pauses: dict[str, tuple[int, float]] = {}
        """By the name of what could not be read its stamp, and the pause since."""
        self._loaded, self._lock = False, asyncio.Lock()
        self._models: Sequence[ModelFile] = ()
        self._reading: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return bool(self._reading and not self._reading.done())

    @property
    def unread(self) -> int:
        """How many models nothing is known of yet."""
        return sum(not self.of(model) for model in self._models)

    @property
    def due(self) -> bool:
        """Whether something that made no sense is to be read again by now."""
        return any(map(self._is_due, self._next))

    def of(self, model: ModelFile) -> Described | None:
        """What is known of it as it is now; None while it was not read."""
        for known in (self._known, self._unsure):
            stamp, described = known.get(model.name, (0, None))
            if described and stamp == model.stamp:
                return described
        return None

    async def describe(self, model: ModelFile) -> Described:
        """What is known of it, read now if need be."""
        await self._load()
        if (described := self.of(model)) and not self._is_due(model.name):
            return described
        headers = Headers()
        try:
            answer = await self._ext.thread(headers.read, model.path)
        finally:
            await asyncio.shield(asyncio.to_thread(headers.close))
        self._note(model, answer)
        return self.of(model) or Described(name=model.name)

    async def refresh(self, models: Sequence[ModelFile]) -> None:
        """Have what is new read in the background, and forget what is gone."""
        await self._load()
        self._models = models
        names = {model.name for model in models}
        for known in (self._known, self._unsure, self._next, self._pauses):
            for name in known.keys() - names:
                del known[name]
        if not self.busy and self._left():
            self._reading = self._ext.spawn(self._describe(), "read headers")

    # --- inside -------------------------------------------------------------------------

    def _left(self) -> list[ModelFile]:
        return [each for each in self._models if self._is_due(each.name) or not self.of(each)]

    def _is_due(self, name: str) -> bool:
        return self._next.get(name, math.inf) <= time.monotonic()

    async def _describe(self) -> None:
        headers, tried, back = Headers(), set[tuple[str, int]](), set[tuple[str, int]]()
        try:
            while left := [m for m in self._left() if (m.name, m.stamp) not in tried]:
                todo = iter(left)
                while found := await self._ext.thread(_some, headers, todo):
                    for model, answer in found:
                        self._note(model, answer)
                        each = model.name, model.stamp
                        if not answer.gone or each in back or not model.path.exists():
                            tried.add(each)
                        back.add(each)
                    await self._changed()
        finally:
            await asyncio.shield(asyncio.to_thread(headers.close))
        if self._known != self._written:
            known = dict(self._known)
            kept = msgspec.msgpack.encode(Kept(RULES, known))
            await self._ext.thread(write, self._file, kept)
            self._written = known

    def _note(self, model: ModelFile, answer: Answer) -> None:
        facts = {**structs.asdict(answer), "name": model.name, "size": model.size}
        passing, gone, name = facts.pop("passing"), facts.pop("gone"), model.name
        if gone:  # Should it come back as it was, it is read then.
            return
        growing = bool(answer.trouble) and _fresh(model.path)
        said = Described(**{**facts, "trouble": COMES} if growing else facts)
        stamp, before = self._pauses.get(name, (model.stamp, 0.0))
        for known in (self._known, self._unsure, self._next, self._pauses):
            known.pop(name, None)
        if growing:
            self._unsure[name], self._next[name] = (model.stamp, said), time.monotonic()
        elif passing:
            pause = min(2 * before, LONGEST) if before and stamp == model.stamp else PAUSE
            self._pauses[name] = model.stamp, pause
            self._unsure[name], self._next[name] = (model.stamp, said), time.monotonic() + pause
        else:
            self._known[name] = model.stamp, said

    async def _load(self) -> None:
        async with self._lock:
            if not self._loaded:
                self._known = await self._ext.thread(_kept, self._file)
                self._written = dict(self._known)
                self._loaded = True


def _some(headers: Headers, models: Iterable[ModelFile]) -> list[tuple[ModelFile, Answer]]:
    """As many as can be read in a moment, one at least."""
    found: list[tuple[ModelFile, Answer]] = []
    until = time.monotonic() + SLICE
    for model in models:
        found.append((model, headers.read(model.path)))
        if time.monotonic() > until:
            break
    return found


def _fresh(path: Path) -> bool:
    """Whether it was written to a moment ago."""
    try:
        return abs(time.time() - path.stat().st_mtime) < GROWING
    except OSError:
        return False


def _kept(file: Path) -> Known:
    try:
        kept = msgspec.msgpack.decode(file.read_bytes(), type=Kept)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.debug("%s cannot be read (%s): the headers are read anew", file, error)
        return {}
    return dict(kept.known) if kept.rules == RULES else {}
