"""Three shapes in which libraries offer generation, each made into submit, poll and cancel."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, Protocol, TypeVar

from extensions.engine_kit.asides import LOOK, STOPPED
from extensions.engine_kit.requests import finish_of
from kernel.contract import Delta, Finish, Output, Reason, Refused, Request

T = TypeVar("T")
Emit = Callable[[Delta | float | None], bool]
"""Gives on a delta, or the share of the prompt that was read; true: cancelled, stop now."""


class Callbacks:
    """For a library with one blocking call and a callback per request: `work(request, emit)`.

    At most `threads` calls run at once, and a question beside them; the others wait their turn.
    """

    def __init__(self, work: Callable[[Request, Emit], Finish], threads: int) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(threads)
        self._questions = ThreadPoolExecutor(1)
        self._outputs: queue.SimpleQueue[Output] = queue.SimpleQueue()
        self._runs: dict[int, Future[None]] = {}
        self._cancelled: set[int] = set()
        self._begins = threading.Lock()

    def submit(self, id: int, request: Request) -> None:
        with self._begins:  # It may have ended before it is known.
            self._runs[id] = self._pool.submit(self._run, id, request)

    def cancel(self, id: int) -> None:
        if (run := self._runs.get(id)) and run.cancel():  # it was still waiting
            self._end(id, Finish("cancelled"))
        elif run and not run.done():
            self._cancelled.add(id)

    def poll(self, timeout: float) -> Sequence[Output]:
        outputs: list[Output] = []
        try:
            outputs.append(self._outputs.get(timeout=timeout))
            while True:
                outputs.append(self._outputs.get_nowait())
        except queue.Empty:
            return outputs

    def ask(self, work: Callable[[], T], cancelled: Callable[[], bool]) -> T:
        """The answer to a question, which waits for other questions and for no request; raises
        Refused. Who gives it up hears so at once, whenever `work` itself looks."""
        run = self._questions.submit(work)
        while not run.done():
            if cancelled():
                run.cancel()
                raise Refused(STOPPED)
            wait([run], LOOK)
        return run.result()

    def close(self) -> None:
        self._pool.shutdown()
        self._questions.shutdown()

    def _run(self, id: int, request: Request) -> None:
        def emit(news: Delta | float | None) -> bool:
            if isinstance(news, Delta):
                self._outputs.put(Output(id, news))
            elif news is not None:
                self._outputs.put(Output(id, progress=news))
            return id in self._cancelled

        try:
            self._end(id, self._work(request, emit))
        except Exception as error:
            self._end(id, finish_of(error))

    def _end(self, id: int, finish: Finish) -> None:
        self._cancelled.discard(id)
        with self._begins:
            self._runs.pop(id, None)
        self._outputs.put(Output(id, finish=finish))


class Row(Protocol):
    """A request that takes part in every step until it is finished."""

    def finish(self, reason: Reason) -> Finish: ...


R = TypeVar("R", bound=Row)


class Stepped(Generic[R]):
    """For a library that decodes one step for all.

    `admit(request)` makes a row of it (or of what else was submitted), and refuses; `step(rows)`
    advances all rows by id and gives what is new of each; a row leaves with its finish. What takes
    its time before (a template of somebody's) is done by `prepare`, in a thread of its own: `admit`
    gets what that gives.
    """

    def __init__(
        self,
        admit: Callable[[Any], R],
        step: Callable[[Mapping[int, R]], Iterable[Output]],
        prepare: Callable[[Any], Any] | None = None,
    ) -> None:
        self._admit, self._step, self._prepare = admit, step, prepare
        self._rows: dict[int, R] = {}
        self._news = threading.Condition()
        self._arrived: dict[int, Any] = {}
        self._coming: set[int] = set()
        """What is being prepared."""
        self._cancelled: set[int] = set()
        self._owed: list[Output] = []
        """What was new before a step failed."""

    def submit(self, id: int, request: Any) -> None:
        if not self._prepare:
            return self._arrive(id, request)
        with self._news:
            self._coming.add(id)
        prepare = self._prepare

        def work() -> None:
            try:
                ready = prepare(request)
            except Exception as error:
                ready = error
            except BaseException as error:
                ready = RuntimeError(f"{type(error).__name__} while it was prepared")
            self._arrive(id, ready)

        threading.Thread(target=work, name=f"prepare {id}", daemon=True).start()

    def _arrive(self, id: int, request: Any) -> None:
        with self._news:
            self._coming.discard(id)
            self._arrived[id] = request
            self._news.notify()

    def cancel(self, id: int) -> None:
        with self._news:
            self._cancelled.add(id)
            self._news.notify()

    def poll(self, timeout: float) -> Sequence[Output]:
        with self._news:
            if not (self._rows or self._arrived or self._owed):
                self._news.wait(timeout)
            arrived, self._arrived = self._arrived, {}
            cancelled = self._cancelled - self._coming
            self._cancelled &= self._coming
        outputs, self._owed = self._owed, []
        for id, request in arrived.items():
            try:
                if isinstance(request, Exception):
                    raise request
                self._rows[id] = self._admit(request)
            except Exception as error:
                outputs.append(Output(id, finish=finish_of(error)))
        for id in cancelled & self._rows.keys():
            outputs.append(Output(id, finish=self._rows.pop(id).finish("cancelled")))
        try:
            if self._rows:
                outputs += self._step(self._rows)
        except BaseException:
            self._owed = outputs
            raise
        finally:
            for output in outputs:
                if output.finish:
                    self._rows.pop(output.id, None)
        return outputs


class OneAtATime:
    """For a library with a plain generator: `generate(request)` yields deltas and read shares
    of the prompt, and at last the finish; the others wait their turn."""

    def __init__(self, generate: Callable[[Request], Iterator[Delta | float | Finish]]) -> None:
        self._generate = generate
        self._news = threading.Condition()
        self._waiting: dict[int, Request] = {}
        self._cancelled: set[int] = set()
        self._running: tuple[int, Iterator[Delta | float | Finish]] | None = None

    def submit(self, id: int, request: Request) -> None:
        with self._news:
            self._waiting[id] = request
            self._news.notify()

    def cancel(self, id: int) -> None:
        with self._news:
            self._cancelled.add(id)
            self._news.notify()

    def poll(self, timeout: float) -> Sequence[Output]:
        with self._news:
            if not (self._running or self._waiting):
                self._news.wait(timeout)
            cancelled, self._cancelled = self._cancelled, set()
            outputs = [
                Output(id, finish=Finish("cancelled"))
                for id in cancelled
                if self._waiting.pop(id, None) or (self._running and self._running[0] == id)
            ]
            if self._running and self._running[0] in cancelled:
                self._running = None
            if not self._running and self._waiting:
                id = next(iter(self._waiting))
                self._running = id, self._generate(self._waiting.pop(id))
        return [*outputs, *self._advance()]

    def _advance(self) -> Iterator[Output]:
        if not self._running:
            return
        id, news = self._running[0], None
        try:
            news = next(self._running[1], Finish("stop"))
        except Exception as error:
            news = finish_of(error)
        if isinstance(news, Finish):
            self._running = None
            yield Output(id, finish=news)
        elif isinstance(news, Delta):
            yield Output(id, news)
        else:
            yield Output(id, progress=news)
