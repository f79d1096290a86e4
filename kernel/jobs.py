"""Background work that a user can watch and cancel; a durable kind survives a restart."""

import asyncio
import inspect
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec

from kernel.bus import Bus
from kernel.contract import Refused
from kernel.files import passing, set_aside, write
from kernel.guard import called, contained
from kernel.sampling import Struct

log = logging.getLogger(__name__)
State = Literal["running", "done", "cancelled", "failed"]


class JobProgress(Struct, frozen=True):
    """News of a job; the page draws a bar from it and needs nothing else."""

    id: str
    owner: str
    title: str
    state: State = "running"
    fraction: float | None = None
    note: str = ""
    awaited: bool = False
    """Who started it waits for it, and tells where it is looked for when it fails."""


class JobKind(msgspec.Struct, frozen=True):
    """Base of durable work: its fields are stored, after a restart it is called with them again."""


J = TypeVar("J", bound=JobKind)


class Kept(msgspec.Struct, Generic[J], frozen=True):
    """The record of durable work."""

    title: str
    params: J
    checkpoint: Any = None


class Job:
    """What the work reports to; reports may come from any thread."""

    def __init__(self, jobs: "Jobs", id: str, owner: str, title: str, awaited: bool) -> None:
        self.progress = JobProgress(id, owner, title, awaited=awaited)
        self.checkpoint: Any = None
        """Durable kinds: what the work kept last, plain data."""
        self.keep: Callable[[Any], None] = lambda checkpoint: None
        """Durable kinds: store a checkpoint."""
        self.forget: Callable[[], None] = lambda: None
        self._given_up = False
        self._jobs, self._loop = jobs, asyncio.get_running_loop()
        self._cancelled = threading.Event()
        self._due = 0.0
        self._later: asyncio.TimerHandle | None = None
        self.done: asyncio.Future[Any] = self._loop.create_future()

    def report(self, fraction: float | None, note: str = "") -> None:
        """Say how far it is (0 to 1, None when unknown); at most ten reports a second are sent."""
        self._loop.call_soon_threadsafe(self._say, "running", fraction, f"{note}")

    def cancelled(self) -> bool:
        """Whether someone asked it to stop; blocking work looks here between its steps."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        self._given_up = True
        self._cancelled.set()
        self.task.cancel()

    def start(self, work: Awaitable[Any]) -> None:
        self.task = asyncio.ensure_future(self._run(work))
        self.task.add_done_callback(lambda _: self._end(work))

    def _end(self, work: Awaitable[Any]) -> None:
        """It may have been cancelled before it began."""
        if self.progress.state == "running":
            self._cancel()
            if inspect.iscoroutine(work):
                work.close()

    def _cancel(self) -> None:
        self._finish("cancelled", "")
        self._fail(Refused(f"“{self.progress.title}” was cancelled."))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # Looked at: a job nobody awaits is shown, not logged.

    async def _run(self, work: Awaitable[Any]) -> None:
        self._say("running", None, "")
        self._due = 0.0  # the first word of the work is not held back
        try:
            result = await contained(work)
        except asyncio.CancelledError:
            self._cancel()
        except Exception as error:
            self._finish("failed", str(error) or type(error).__name__)
            self._fail(error)
        else:
            self._finish("done", "")
            if not self.done.done():
                self.done.set_result(result)

    def _finish(self, state: State, note: str) -> None:
        self._cancelled.set()
        if state != "cancelled" or self._given_up:  # What ends with the server goes on after it.
            self.forget()
        self._due = 0.0
        self._say(state, self.progress.fraction, note)

    def _say(self, state: State, fraction: float | None, note: str) -> None:
        if self.progress.state != "running":
            return
        self.progress = msgspec.structs.replace(
            self.progress, state=state, fraction=fraction, note=note or self.progress.note
        )
        if state != "running" or self._loop.time() >= self._due:
            self._tell()
        elif not self._later:  # What is said last before a silence counts as well.
            self._later = self._loop.call_at(self._due, self._tell)

    def _tell(self) -> None:
        if self._later:
            self._later.cancel()
        self._later, self._due = None, self._loop.time() + 0.1
        self._jobs.said(self)


Run = Callable[[Job, Any], Awaitable[Any]]
"""What an extension does for a durable kind."""


class Jobs:
    """All jobs of this server's life, and the durable ones of the lives before."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self.running: dict[str, Job] = {}
        self._bus, self._folder = bus, folder
        self._ids = itertools.count(1)

    def start(
        self, owner: str, title: str, work: Callable[[Job], Awaitable[Any]], awaited: bool = False
    ) -> Job:
        job = Job(self, f"{owner}-{next(self._ids)}", owner, f"{title}", awaited)
        self.running[job.progress.id] = job
        job.start(called(work, job))
        return job

    def said(self, job: Job) -> None:
        if job.progress.state != "running":
            self.running.pop(job.progress.id, None)
        self._bus.emit(job.progress)

    # --- durable kinds: data/jobs/<kind>-<n>.json --------------------------------------

    def start_durable(
        self, owner: str, kind: str, kept: Kept[Any], run: Run, file: str = ""
    ) -> Job:
        """Run stored work; its record goes when it is done, failed or cancelled by a person."""
        path = self._folder / (file or f"{kind}-{self._next()}.json")

        def keep(checkpoint: Any) -> None:
            now = msgspec.structs.replace(kept, checkpoint=checkpoint)
            write(path, msgspec.json.encode(now))

        def forget() -> None:
            with suppress(OSError):  # It is begun again at the next start, which is no loss.
                path.unlink(missing_ok=True)

        def keep_later(checkpoint: Any) -> None:
            try:
                keep(checkpoint)
            except OSError as error:  # The record before it stays, and the work goes on.
                log.warning("How far “%s” is could not be kept: %s.", kept.title, error.strerror)

        async def work(job: Job) -> Any:
            job.checkpoint, job.keep = kept.checkpoint, keep_later
            return await called(run, job, kept.params)

        if not file:
            try:
                keep(kept.checkpoint)
            except OSError as error:
                raise Refused(
                    f"“{kept.title}” was not begun: its record could not be written "
                    f"({error.strerror}). Free some space or check the data folder, then try again."
                ) from error
        job = self.start(owner, kept.title, work)
        job.forget = forget
        return job

    def kept(self, kind: str, params: type[J]) -> list[tuple[str, "Kept[J]"]]:
        """Files of a kind that did not finish, oldest first; one that is damaged is set aside."""
        files = [f for f in self._folder.glob(f"{kind}-*.json") if _number(f)]
        found: list[tuple[str, Kept[J]]] = []
        for file in sorted(files, key=_number):
            try:
                found.append((file.name, msgspec.json.decode(file.read_bytes(), type=Kept[params])))
            except ValueError:
                set_aside(file, "The work it tells of does not go on; start it again.")
            except OSError as error:
                if passing(error):
                    raise
                log.warning("%s cannot be read: %s. What it tells of waits.", file, error.strerror)
        return found

    def _next(self) -> int:
        return max(map(_number, self._folder.glob("*-*.json")), default=0) + 1


def _number(file: Path) -> int:
    """The number in a record's name; 0 when it is none of ours."""
    number = file.stem.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
