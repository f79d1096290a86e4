"""Downloads as jobs: begun, paused, gone on with, cancelled, and in turn."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from kernel.api import (
    Extension,
    Job,
    JobKind,
    Refused,
    Worker,
    WorkerDied,
    WorkerError,
)

from .hub import xet_of
from .line import Line
from .news import Downloaded, DownloadMoved, News, Wishes
from .plan import Plan
from .planning import asked_at, check_names, safe
from .records import Entry, Kept, Records, State
from .staging import Group, groups

CODE = "fetcher.py:Fetcher"
DEATHS = 3
"""So many times the worker may die under a download."""
IDLE = 60.0
"""Seconds after the last download until the worker ends."""
OPEN: tuple[State, ...] = ("waiting", "running", "paused")


class Fetch(JobKind, frozen=True):
    """The work of a download; what it is about lies in its record."""

    id: str


class Downloads:
    """What the page and the command line do with downloads. Most raise Refused.

    `where` answers for an endpoint ("" is that of the settings) its address and token.
    """

    def __init__(self, ext: Extension[Any], where: Callable[[str], tuple[str, str]]) -> None:
        self._ext, self._where = ext, where
        self._records = Records(ext.data / "downloads")
        self._line = Line(lambda: ext.settings.at_once)
        self._jobs: dict[str, Job] = {}
        self._going: dict[str, asyncio.Task[Any]] = {}
        self._worker: Worker | None = None
        self._adding, self._starting = asyncio.Lock(), asyncio.Lock()
        self._writing = asyncio.Lock()
        self._unwritten: set[str] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._ended = False

    async def open(self) -> None:
        """Take up what was begun in an earlier life."""
        await self._ext.thread(self._records.load)
        self._ext.on(Fetch)(self._run)
        self._ext.defer(self._end)
        self._ext.spawn(self._take_up(), "take up")

    async def _take_up(self) -> None:
        await asyncio.sleep(0)  # The jobs that the kernel kept begin first.
        for entry in self.entries:
            if entry.state in OPEN and entry.id not in self._jobs:
                with suppress(Refused):  # Its row says so.
                    await self._begin(entry)

    # --- what a person can do ---

    @property
    def entries(self) -> list[Entry]:
        """All downloads, oldest first."""
        return [*self._records.entries.values()]

    def get(self, id: str) -> Entry:
        """One of them; raises Refused."""
        if entry := self._records.entries.get(id):
            return entry
        raise Refused("This download is not in the list any more.")

    async def start(self, plan: Plan, endpoint: str = "") -> Entry:
        """Fetch a plan, after those that wait already; one that is under way is not begun twice."""
        check_names(plan.items)
        for name in plan.folder.split("/") if plan.folder else ():
            safe(name)
        async with self._adding:  # Else two clicks at once would begin it twice.
            return self._same(plan) or await self._add(Kept(plan, endpoint))

    def _same(self, plan: Plan) -> Entry | None:
        """What is under way already; raises Refused where another is, to the same place."""
        for other in self._records.of(plan):
            if other.state in OPEN and other.plan == plan:
                return other
            if other.state in OPEN:
                raise Refused(
                    f"“{other.name}” is being fetched to the same place. Wait for it or cancel it."
                )
        return None

    async def _add(self, kept: Kept) -> Entry:
        ended = [
            other
            for other in self._records.of(kept.plan)
            if other.state == "done" or other.plan.paths <= kept.plan.paths
        ]
        entry = await self._ext.thread(self._records.add, kept)
        for other in ended:
            await self._strike(other)  # What it had is taken up.
        await self._begin(entry)
        return entry

    async def pause(self, id: str) -> None:
        """Stop for now; what is there stays, and another gets the turn."""
        entry = self.get(id)
        if entry.state in ("waiting", "running"):
            if id not in self._going:  # It only waits, and must not come to its turn.
                self._line.leave(id)
            await self._set(entry, "paused")
            if going := self._going.get(id):
                going.cancel()

    async def resume(self, id: str) -> None:
        """Go on, also with one that failed or was cancelled."""
        entry = self.get(id)
        if entry.state == "paused":
            self._line.join(entry.id)  # Before a wait, in which it may be paused again.
            await self._set(entry, "waiting")
            return
        async with self._adding:
            if entry.state in ("failed", "cancelled"):
                self._same(entry.plan)
                await self._set(entry, "waiting")
                await self._begin(entry)

    retry = resume

    async def cancel(self, id: str) -> None:
        """Stop it; what is there stays until it is forgotten."""
        entry = self.get(id)
        if job := self._jobs.get(id):
            job.cancel()
            await asyncio.wait({job.done})
        elif entry.state in OPEN:
            await self._set(entry, "cancelled")

    async def forget(self, id: str) -> None:
        """Take it out of the list, and remove what was fetched of it, unless it is whole."""
        entry = self.get(id)
        await self.cancel(id)
        await self._drop(entry)
        self._ext.emit(DownloadMoved(id))

    async def settings_changed(self) -> None:
        """Let the limits of the settings count from now on."""
        self._line.move()
        await self._set_pace()

    async def _set_pace(self) -> None:
        if self._worker and not self._worker.died.done():
            await self._worker.call("pace", rate=self._ext.settings.limit * 1e6)

    # --- the job ---

    async def _begin(self, entry: Entry) -> None:
        """Raises Refused where its job cannot be noted, as on a full disk."""
        entry.still()
        try:
            self._ext.job(f"Downloading {entry.name}", Fetch(entry.id))
        except Refused as refusal:
            await self._set(entry, "failed", str(refusal))
            raise

    async def _run(self, job: Job, params: Fetch) -> None:
        if not (entry := self._records.entries.get(params.id)) or entry.state not in OPEN:
            return
        self._jobs[entry.id] = job
        try:
            if entry.state != "paused":
                self._line.join(entry.id)
            self._tell(entry)
            await self._fetch_in_turns(job, entry)
        except asyncio.CancelledError:
            if job.cancelled():
                await asyncio.shield(self._set(entry, "cancelled"))
            raise
        except (Refused, WorkerError, WorkerDied) as error:
            await self._set(entry, "failed", str(error))
            raise Refused(str(error)) from error
        finally:
            self._line.leave(entry.id)
            del self._jobs[entry.id]
            self._tell(entry)

    async def _fetch_in_turns(self, job: Job, entry: Entry) -> None:
        deaths = 0
        while entry.state != "done":
            await self._line.turn(entry.id)
            await self._set(entry, "running")
            task = self._ext.spawn(self._tried(job, entry), "fetch")
            self._going[entry.id] = task
            try:
                await asyncio.wait({task})
                if not task.cancelled():  # as by a pause
                    await self._outcome(entry, _or_raised(task.result()))
            except WorkerDied:
                deaths += 1
                if deaths >= DEATHS:
                    raise
            finally:
                task.cancel()
                await asyncio.wait({task})
                del self._going[entry.id]
                self._rest_later()
                entry.still()
                if entry.state == "paused":
                    self._line.leave(entry.id)

    async def _tried(self, job: Job, entry: Entry) -> News | Exception:
        """What was fetched, or why not: a hub that fails is no fault of the extension."""
        try:
            return await self._fetch(job, entry)
        except (Refused, WorkerError, WorkerDied) as error:
            return error

    async def _fetch(self, job: Job, entry: Entry) -> News:
        def report(fraction: float, note: str) -> None:
            entry.hear(msgspec.json.decode(note, type=News), asyncio.get_running_loop().time())
            self._tell(entry)

        address, token = self._where(entry.kept.endpoint)
        plan = asked_at(entry.plan, address)
        settings = self._ext.settings
        wishes = Wishes(settings.threads, settings.retries, xet=xet_of(settings.xet))
        root = self._ext.loras if entry.plan.root == "loras" else self._ext.models
        worker = await self._working(lambda f, note: job.report(None, note))
        said = await worker.call(
            "fetch",
            report,
            id=entry.id,
            plan=msgspec.to_builtins(plan),
            root=str(root),
            endpoint=address,
            token=token,
            wishes=msgspec.to_builtins(wishes),
        )
        return msgspec.convert(said, News)

    async def _outcome(self, entry: Entry, news: News) -> None:
        entry.hear(news, asyncio.get_running_loop().time())
        if news.full:
            return await self._set(entry, "paused", news.full)
        if not news.failed:
            await self._set(entry, "done")
            return self._ext.emit(Downloaded(entry.plan))
        path, why = next(iter(news.failed.items()))
        count = len(news.failed)
        several = f"{count:,} of {news.files:,} files, the first of them {path}"
        kept = " What was fetched is kept for the next try." if news.have else ""
        raise Refused(f"Not fetched: {path if count == 1 else several}. {why}{kept}")

    # --- inside ---

    async def _set(self, entry: Entry, state: State, why: str = "") -> None:
        failed = dict(entry.news.failed) if state == "failed" else {}
        have = entry.news.have
        entry.kept = structs.replace(entry.kept, state=state, why=why, failed=failed, have=have)
        self._unwritten.add(entry.id)
        async with self._writing:
            await self._write(entry)
        self._tell(entry)

    async def _write(self, entry: Entry) -> None:
        with suppress(OSError):  # A full disk is told of by who fills it.
            if entry.id in self._records.entries:  # Else it was removed meanwhile.
                await self._ext.thread(self._records.keep, entry)
        self._unwritten.discard(entry.id)

    def _tell(self, entry: Entry) -> None:
        if job := self._jobs.get(entry.id):
            job.report(entry.fraction, entry.note)
        self._ext.emit(DownloadMoved(entry.id))

    async def _drop(self, entry: Entry) -> None:
        if entry.state != "done":
            if self._worker:
                with suppress(WorkerDied):  # Then nothing of it is at work, either.
                    await self._worker.call("left", id=entry.id)
            await self._remove(entry)
        await self._strike(entry)

    async def _remove(self, entry: Entry) -> None:
        """Remove what was fetched of it, but for what others in the list have in common with it."""
        others = [e for e in self._records.of(entry.plan) if e is not entry and e.state != "done"]
        theirs = {path for other in others for path in other.plan.paths}
        items = tuple(item for item in entry.plan.items if item.path not in theirs)
        own = structs.replace(entry.plan, items=items)
        going = [other.plan for other in self.entries if other.id in self._going]

        def remove() -> None:
            busy = {group.staging for plan in going for group in self._groups(plan)}
            for group in self._groups(own):
                if group.staging in busy:  # By who fetches none of these files, maybe for hours.
                    with suppress(OSError):
                        group.discard()
                else:
                    with group.alone(lambda: time.sleep(0.1)):
                        group.clear()

        await self._ext.thread(remove)

    def _groups(self, plan: Plan) -> list[Group]:
        root = self._ext.loras if plan.root == "loras" else self._ext.models
        return groups(plan, Path(root).resolve())

    async def _strike(self, entry: Entry) -> None:
        """Take it out of the list, and its file away, after what is being written of it."""
        async with self._writing:
            await self._ext.thread(self._records.drop, entry)

    async def _working(self, report: Callable[[float, str], None]) -> Worker:
        async with self._starting:
            if not self._worker or self._worker.died.done():
                self._worker = await self._ext.worker(CODE, report)
                await self._set_pace()
            return self._worker

    def _rest_later(self) -> None:
        """Give the worker's memory back when nothing was fetched for a while."""
        if self._resting:
            self._resting.cancel()
        if not self._ended:
            self._resting = asyncio.get_running_loop().call_later(IDLE, self._rest)

    def _rest(self) -> None:
        if not self._going:
            self._ext.spawn(self._close(), "rest")

    async def _end(self) -> None:
        self._ended = True
        for entry in self.entries:
            if entry.id in self._unwritten:  # The task that would have done it was ended.
                await self._write(entry)
        await self._close()

    async def _close(self) -> None:
        if self._resting:
            self._resting.cancel()
        worker, self._worker = self._worker, None
        if worker:
            await worker.close()


def _or_raised(said: News | Exception) -> News:
    if isinstance(said, Exception):
        raise said
    return said
