"""News that programs subscribe to: of the model, of replies, of work, of extensions."""

from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, Literal

import msgspec

from extensions.api_kit.api import Caller, Fault, Problem, Run, Runs
from kernel.api import Extension, Generated, JobProgress, SlotChanged, StatusChanged, Struct

Name = Literal["model", "replies", "jobs", "generated", "extensions"]
OWNERS = ("jobs", "generated", "extensions")
"""What only who may do everything is told."""
MOST = 256
"""Frames that wait for one program; beyond it the oldest are dropped."""
FAILED = "The model could not be loaded. The page of Spindle says why."
NOT_YOURS = (
    "This key is for replies, so it is told of the model and of its own replies alone. For {} use "
    "a key with all rights."
)


class ModelNews(Struct, frozen=True, omit_defaults=False):
    """What is loaded, or how far it is."""

    slot: str
    state: str
    name: str
    loader: str
    context_length: int
    capabilities: tuple[str, ...]
    fraction: float
    note: str
    error: str


class ReplyNews(Struct, frozen=True, omit_defaults=False):
    """A reply of a program has ended; seconds until its turn, its first word, and its end."""

    id: str
    api: str
    state: str
    model: str
    prompt: int
    completion: int
    waited: float
    first: float
    seconds: float


class JobNews(Struct, frozen=True, omit_defaults=False):
    """How far some work is: a download, an installation, a training."""

    id: str
    owner: str
    title: str
    state: str
    fraction: float | None
    note: str


class GeneratedNews(Struct, frozen=True, omit_defaults=False):
    """The engine has ended a reply, whoever asked."""

    slot: str
    reason: str
    prompt: int
    completion: int
    seconds: float


class ExtensionNews(Struct, frozen=True, omit_defaults=False):
    """An extension was switched on or off, or failed."""

    id: str
    status: str
    reason: str


KINDS: dict[Name, type[msgspec.Struct]] = {
    "model": ModelNews,
    "replies": ReplyNews,
    "jobs": JobNews,
    "generated": GeneratedNews,
    "extensions": ExtensionNews,
}


class Event(Struct, frozen=True, tag_field="type", tag="event"):
    """News; what `data` is depends on the name, see `events` in the schema."""

    name: Name
    data: Any


class Subscription:
    """What one program wants to hear, and what it has not taken yet."""

    def __init__(self, caller: Caller, wake: Callable[[], None]) -> None:
        self.names: set[Name] = set()
        self._caller, self._wake = caller, wake
        self.all_rights = caller.admin
        self._parts: dict[object, bytes] = {}

    def add(self, names: Iterable[Name]) -> None:
        """Raises Problem for what is not this program's to hear."""
        if not self._caller.admin and (kept := [name for name in names if name in OWNERS]):
            says = NOT_YOURS.format(" and ".join(kept))
            raise Problem(Fault(says, "permission_error", "events", "admin_key_needed"))
        self.names.update(names)

    def hears(self, name: Name, owner: str) -> bool:
        """Whether it wants this, and may have it: a reply belongs to its owner."""
        mine = not owner or self._caller.admin or owner == self._caller.owner
        return name in self.names and mine

    def put(self, key: object, frame: bytes) -> None:
        """What is of the same key and still waits is not told any more."""
        self._parts.pop(key, None)
        self._parts[key] = frame
        if len(self._parts) > MOST:
            del self._parts[next(iter(self._parts))]
        self._wake()

    def take(self) -> list[bytes]:
        parts, self._parts = [*self._parts.values()], {}
        return parts


class Events:
    """Hears of everything, and tells who has subscribed."""

    def __init__(self, ext: Extension[Any], runs: Runs) -> None:
        self.all: set[Subscription] = set()
        self._ext, self._jobs = ext, dict[str, JobNews]()
        runs.watchers.append(self._replied)
        ext.defer(lambda: runs.watchers.remove(self._replied))
        ext.on(SlotChanged)(self._slot)
        ext.on(JobProgress)(self._job)
        ext.on(Generated)(self._generated)
        ext.on(StatusChanged)(self._status)

    def subscribe(self, mine: Subscription, names: Iterable[Name]) -> None:
        """From now on, and how things stand: what is loaded, the jobs under way. Raises Problem."""
        mine.add(names)
        self.all.add(mine)
        if "model" in names:
            self._put([mine], "model", "chat", model_news(self._ext.slot().state, mine.all_rights))
        if "jobs" in names:
            for job in self._jobs.values():
                self._put([mine], "jobs", job.id, job)

    # --- inside ------------------------------------------------------------------------

    def _tell(self, name: Name, key: object, data: msgspec.Struct, owner: str = "") -> None:
        self._put([each for each in self.all if each.hears(name, owner)], name, key, data)

    def _put(
        self, to: Iterable[Subscription], name: Name, key: object, data: msgspec.Struct
    ) -> None:
        if to := [*to]:
            frame = msgspec.json.encode(Event(name, data))
            for each in to:
                each.put((name, key), frame)

    async def _slot(self, event: SlotChanged) -> None:
        for all_rights in (True, False):
            to = [each for each in self.all if each.all_rights == all_rights]
            hearing = [each for each in to if each.hears("model", "")]
            self._put(hearing, "model", event.slot, model_news(event, all_rights))

    async def _job(self, job: JobProgress) -> None:
        news = JobNews(job.id, job.owner, job.title, job.state, job.fraction, job.note)
        self._jobs[job.id] = news
        if job.state != "running":
            del self._jobs[job.id]
        self._tell("jobs", job.id, news)

    async def _generated(self, event: Generated) -> None:
        finish, used = event.finish, event.finish.usage
        numbers = (used.prompt, used.completion, event.seconds)
        self._tell("generated", object(), GeneratedNews(event.slot, finish.reason, *numbers))

    async def _status(self, event: StatusChanged) -> None:
        news = ExtensionNews(event.id, event.status.value, event.reason)
        self._tell("extensions", event.id, news)

    def _replied(self, run: Run) -> None:
        used, seconds = run.finish.usage, run.ended - run.asked
        news = ReplyNews(
            id=run.id,
            api=run.api,
            state=run.state,
            model=run.model,
            prompt=used.prompt,
            completion=run.tokens,
            waited=(run.began or run.ended) - run.asked,
            first=(run.first or run.ended) - run.asked,
            seconds=seconds,
        )
        self._tell("replies", run.id, news, run.caller.owner)


def model_news(state: SlotChanged, all_rights: bool) -> ModelNews:
    """What a program may know of a slot: folders and the words of an engine are the owner's."""
    info = state.info
    name = info.name if info else PurePath(state.name).name
    more = (info.loader, info.context_length, info.capabilities) if info else ("", 0, ())
    note, error = state.note, state.error
    if not all_rights:
        note, error = "", FAILED if error else ""
    return ModelNews(state.slot, state.state, name, *more, state.fraction, note, error)
