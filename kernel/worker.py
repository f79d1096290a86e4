"""The server's end of a child process that runs an engine: requests, calls, and its death."""

import asyncio
import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kernel import frames
from kernel.child import Frames, Process
from kernel.contract import ModelInfo, Report, Request, Struct
from kernel.generation import Generation, WorkerDied, WorkerError
from kernel.logs import discreet
from kernel.platform_ import ended, kill_tree
from kernel.spawning import spawn

ALWAYS = {
    "OMP_WAIT_POLICY": "PASSIVE", "GGML_NO_BACKTRACE": "1",
    "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1", "PYTHONUTF8": "1", "PYTHONPATH": str(Path(__file__).parents[1]),
}  # fmt: skip


class Limits(Struct, frozen=True):
    """Seconds of quiet after which a worker counts as hung."""

    silence: float = 60.0  # nothing came for the open requests
    reading: float = 600.0  # the same while the first token of one of them is awaited, or a load
    alive: float = 15.0  # not even a sign of life
    loading: float = 120.0  # the same while importing a large library blocks all else


USUAL = Limits()


class Worker:
    """A running child; `died` is resolved with the reason when it is gone, however it went."""

    def __init__(self, on_log: Callable[[str], None], limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[str] = self._loop.create_future()
        self._process = Process(on_log, self._gone)
        garbage = "The engine sent something that no engine should send, and was stopped."
        self._pipe = Frames(self._hear, partial(self._kill, garbage), self._gone)
        self._left = {"process", "log", "pipe"}
        self._limits, self._alive = limits, limits.loading
        self._heard = self._news = self._answered = self._loop.time()
        self._reason = ""
        self._ids = itertools.count(1)
        self._replies: dict[int, Generation] = {}
        self._calls: dict[int, tuple[asyncio.Future[Any], Report | None]] = {}

    @classmethod
    async def start(
        cls,
        python: Path,
        code: str,
        env: Mapping[str, str] | None = None,
        on_log: Callable[[str], None] = lambda line: None,
        limits: Limits = USUAL,
    ) -> "Worker":
        """Run the engine `code` (`"<file>.py:<Class>"`) in the environment of `python`."""
        worker = cls(on_log, limits)
        command = [str(python), "-P", "-s", "-m", "kernel.worker_host", code]
        environ = {**os.environ, **ALWAYS, **(env or {})}
        try:
            pipe = await spawn(lambda: worker._process, command, environ)
        except (OSError, TimeoutError) as error:
            why = str(error) or "no word of it"
            reason = f"The engine's Python does not start ({why}). Build its environment again."
            raise WorkerDied(reason) from error
        await worker._loop.create_connection(lambda: worker._pipe, sock=pipe)
        worker._watch()
        return worker

    @property
    def pid(self) -> int:
        """The process, for whoever looks at what it uses."""
        return self._process.transport.get_pid()

    @property
    def log_tail(self) -> Sequence[str]:
        """The last lines it printed."""
        return tuple(map(discreet, self._process.tail))

    @property
    def busy(self) -> bool:
        """Whether it was asked for something and has not answered."""
        return bool(self._replies or self._calls)

    async def load(
        self, path: str | Path, options: Mapping[str, Any], report: Report | None = None
    ) -> ModelInfo:
        """Load a model; when this is cancelled, the worker is killed."""
        self._news = self._loop.time()
        frame = frames.Load(str(path), options)
        return await self._ask(0, frame, report, partial(self._kill, "The loading was cancelled."))

    async def call(self, name: str, report: Report | None = None, **data: Any) -> Any:
        """Anything else that an engine can do: plain data in and out."""
        id = next(self._ids)
        return await self._ask(id, frames.Call(id, name, data), report, partial(self._cancel, id))

    def generate(self, request: Request) -> Generation:
        """Begin a reply; whatever goes wrong is raised by iterating over it."""
        id = next(self._ids)
        reply = Generation(partial(self._cancel, id))
        if not self._replies:
            self._news = self._loop.time()
        try:
            self._send(frames.Submit(id, request))
            self._replies[id] = reply
        except (WorkerError, WorkerDied) as error:
            reply.close(error)
        return reply

    async def close(self, grace: float = 3) -> None:
        """End the worker; returns when its process is gone."""
        self._reason = self._reason or "The engine was stopped."
        self._pipe.transport.close()
        await asyncio.wait({self.died}, timeout=grace)
        self._kill("")
        await asyncio.wait({self.died})

    # --- to the child ---

    def _send(self, frame: frames.ToWorker) -> None:
        if self.died.done():
            raise WorkerDied(self.died.result())
        try:
            self._pipe.transport.write(frames.pack(frame))
        except ValueError as error:
            raise WorkerError(f"This cannot be sent to the engine: {error}.") from error

    def _cancel(self, id: int) -> None:
        if not self.died.done():
            self._send(frames.Cancel(id))

    async def _ask(
        self, id: int, frame: frames.ToWorker, report: Report | None, cancel: Callable[[], None]
    ) -> Any:
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._calls[id] = answer, report
        try:
            self._send(frame)
            return await answer
        except asyncio.CancelledError:
            cancel()
            raise
        finally:
            del self._calls[id]

    # --- from the child ---

    def _hear(self, frame: frames.FromWorker) -> None:
        self._heard = self._loop.time()
        match frame:
            case frames.Outputs(outputs):
                self._news = self._heard
                for output in outputs:
                    if reply := self._replies.get(output.id):
                        reply.hear(output)
                        if output.finish:
                            del self._replies[output.id]
            case frames.Progress(id, fraction, note):
                self._news = self._heard
                if (call := self._calls.get(id)) and call[1]:
                    self._loop.call_soon(call[1], fraction, note)
            case frames.Loaded(info):
                self._alive = self._limits.alive
                self._answer(0, info)
            case frames.Result(id, value):
                self._answer(id, value)
            case frames.Failed(_, error, "start"):
                self._reason = error
            case frames.Failed(id, error, _, refused):
                if reply := self._replies.pop(id, None):
                    self._news = self._heard
                    reply.close(WorkerError(error, refused))
                self._answer(id, WorkerError(error, refused))
            case frames.Alive():
                pass  # it was heard

    def _answer(self, id: int, value: Any) -> None:
        self._answered = self._heard
        if not self._replies:  # Of them it is no news: a step may hang beside what is answered.
            self._news = self._heard
        answer, _ = self._calls.get(id, (None, None))
        if answer and not answer.done():
            failed = isinstance(value, Exception)
            answer.set_exception(value) if failed else answer.set_result(value)

    # --- its end ---

    def _watch(self, due: float = math.inf) -> None:
        """Comes late where the loop stood still, or the machine slept: then nothing was heard."""
        if self.died.done():
            return
        now = self._loop.time()
        if (missed := now - due) > 1:
            self._heard = min(now, self._heard + missed)
            self._news = min(now, self._news + missed)
        if now - self._heard > self._alive:
            self._kill(f"The engine hung while {self._doing()}, and was stopped.")
        elif (quiet := now - self._news) > self._patience():
            said = f"The engine was silent for {quiet:.0f} seconds, and was stopped. If it is "
            self._kill(said + "only slow, set a longer silence below model: in settings.yaml.")
        due = now + min(1, self._limits.silence / 4)
        self._loop.call_at(due, self._watch, due)

    def _patience(self) -> float:
        """Seconds for which it may say nothing of what it was asked."""
        if 0 in self._calls:  # A library may hang in a load and let the sign of life go on.
            return max(self._limits.reading, self._limits.loading)
        if not self._replies:
            return float("inf")
        called = self._calls or self._answered > self._news  # It may hold up what is being written.
        writing = not called and all(reply.began for reply in self._replies.values())
        return self._limits.silence if writing else self._limits.reading

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        if "process" in self._left:
            kill_tree(self._process.transport.get_pid())
        self._loop.call_later(0.9, self._bury)

    def _cut(self) -> None:
        """The pipe closed. Of one that died the system tells why, late where it is busy."""
        if "process" in self._left and not ended(self._process.transport.get_pid()):
            self._kill("The engine closed its connection.")

    def _gone(self, what: str) -> None:
        """When process, log or pipe has ended, the others should follow at once."""
        self._left.discard(what)
        if what == "process":
            kill_tree(self._process.transport.get_pid())
            self._loop.call_later(0.5, self._bury)
        elif what == "pipe" and not self._reason:
            self._loop.call_later(0.3, self._cut)
        if not self._left:
            self._bury()

    def _bury(self) -> None:
        if self.died.done():
            return
        reason = self._reason or self._process.autopsy(self._doing())
        self.died.set_result(reason)
        if hasattr(self._pipe, "transport"):  # Else it was given up before there was one.
            self._pipe.transport.abort()
        self._process.transport.close()
        for reply in self._replies.values():
            reply.close(WorkerDied(reason))
        for id in self._calls:
            self._answer(id, WorkerDied(reason))

    def _doing(self) -> str:
        if 0 in self._calls:
            return "loading the model"
        if any(reply.began for reply in self._replies.values()):
            return "writing a reply"
        return "reading a prompt" if self._replies else "working" if self._calls else "idle"
