"""What an extension owns: contributions, tasks and resources, which all end when it stops."""

import asyncio
import inspect
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.routing import Route, WebSocketRoute

from kernel.acting import ACTIONS
from kernel.guard import SwitchedOff, contained
from kernel.pages import Panel
from kernel.points import Entry, Phase, Point, Rewrites
from kernel.waiting import comes_true, unfinished

if TYPE_CHECKING:
    from kernel.manager import Kernel

T = TypeVar("T")


def cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


class Scope:
    """Leaving it withdraws every contribution, task and resource made through it."""

    def __init__(self, id: str, folder: Path, kernel: "Kernel", stack: AsyncExitStack) -> None:
        self.id, self.folder = id, folder
        self.log = logging.getLogger(f"extensions.{id}")
        self.why = ""
        """While it stops: why, as a sentence for a person."""
        self._kernel, self._stack = kernel, stack
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads: set[asyncio.Future[Any]] = set()
        self._disposers: list[Callable[[], None]] = []
        self._entries: list[Entry[Any]] = []
        self._hurry: asyncio.TimerHandle | None = None

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Open a resource that is closed when the extension stops."""
        return await self._stack.enter_async_context(manager)

    def defer(self, undo: Callable[[], Any]) -> None:
        """Call (and await) `undo` when the extension stops; one that fails or hangs is left."""

        async def run() -> None:
            if inspect.isawaitable(result := undo()):
                await result

        async def contained_run() -> None:
            guard, entry = self._kernel.guard, Entry(Phase.NORMAL, 0, 0, self.id, undo)
            try:
                await guard.within(guard.budget, entry, run)
            except Exception as error:
                guard.failed(self.id, "stop", error)

        async def whole_run() -> None:  # Whoever stops it a second time cuts no undoing short.
            await asyncio.shield(self._kernel.later(contained_run()))

        self._stack.push_async_callback(whole_run)

    def spawn(self, work: Coroutine[Any, Any, T], name: str = "") -> "asyncio.Task[T]":
        """Run `work` in the background; it is cancelled when the extension stops."""
        if not inspect.isawaitable(work):
            raise TypeError("spawn takes what an “async def” gives when called: spawn(tick())")
        task = asyncio.create_task(contained(work), name=f"{self.id}:{name}")
        if inspect.iscoroutine(work):
            task.add_done_callback(lambda _: work.close())  # It may end before it began.
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run blocking code off the event loop; the extension has stopped when it has ended."""
        run = copy_context().run
        pool = self._kernel.threads
        work = asyncio.get_running_loop().run_in_executor(pool, run, partial(function, *args))
        self._threads.add(work)
        work.add_done_callback(self._threads.discard)
        return await asyncio.shield(work)

    async def leave(self) -> None:
        """Withdraw contributions, let modifiers leave, cancel tasks; resources close after this."""
        while self._disposers:
            self._disposers.pop()()
        for lease in [lease for entry in self._entries for lease in entry.leases]:
            lease.leave()
        budget = self._kernel.guard.budget
        held = lambda: sum(len(entry.leases) for entry in self._entries)  # noqa: E731
        await comes_true(lambda: not held(), budget)
        self._left(held(), "has work that cannot be ended")
        cancel(tasks := {*self._tasks})
        self._left(len(await unfinished(tasks, budget)), "has tasks that cannot be cancelled")
        await unfinished(self._threads, budget)
        later = asyncio.get_running_loop().call_later
        self._hurry = later(budget, cancel, self._strays())  # A group of tasks waits for its own.

    async def sweep(self) -> None:
        """End what outlives the resources, too: it was made past the handle."""
        if self._hurry:
            self._hurry.cancel()
        cancel(strays := self._strays())
        await unfinished(strays, self._kernel.guard.budget)
        self._left(len(strays), "made tasks past its handle, which were ended. Use ext.spawn")
        threads = [t for t in threading.enumerate() if self._wrote(getattr(t, "_target", None))]
        self._left(len(threads), "left threads running, which only a restart of Spindle ends")

    def _left(self, number: int, what: str) -> None:
        if number:
            self._kernel.guard.failed(self.id, "stop", RuntimeError(f"it {what} ({number})"))

    def _strays(self) -> set[asyncio.Task[Any]]:
        """Tasks that run its code and are not its own by the handle."""
        mine = {asyncio.current_task(), *self._tasks}
        return {t for t in asyncio.all_tasks() if t not in mine and self._wrote(t.get_coro())}

    def _wrote(self, work: Any) -> bool:
        """Whether a coroutine or function comes from the extension's folder."""
        code = getattr(work, "cr_code", None) or getattr(work, "__code__", None)
        file = code.co_filename if code else ""  # As text: a switch asks of every task there is.
        mine = file.startswith(f"{self.folder}{os.sep}")
        return mine and not os.path.basename(file).startswith("test_")

    # --- inside ------------------------------------------------------------------------

    def _admit(self, point: Point[Any], value: Any) -> None:
        """Raise when the value cannot be a contribution: a wrong type, or a name that is taken."""
        point.check(value)
        if point.once and any(e.owner == self.id for e in self._kernel.registry.entries(point)):
            raise ValueError(point.once)
        manifest = self._kernel.records[self.id].manifest
        routes = getattr(getattr(value, "app", None), "routes", ())
        plain = [r.path for r in routes if isinstance(r, Route | WebSocketRoute)]
        lost = [
            path for path in plain if manifest and "{" not in path and not manifest.serves(path)
        ]
        if lost and len(lost) == len(routes):  # None of them is ever asked.
            says = f"{lost[0]} is not its own. Write /ext/{self.id}{lost[0]}"
            raise ValueError(f"{says}, or claim it in extension.toml: paths = […]")
        if isinstance(value, Panel) and not (self.folder / "templates" / value.template).is_file():
            raise ValueError(f"there is no templates/{value.template}, which a panel shows")
        name = "name" if point is ACTIONS else "id"
        mine = getattr(value, name, None)
        for entry in self._kernel.registry.entries(point) if isinstance(mine, str) else ():
            if getattr(entry.value, name, None) == mine:
                what = "action" if point is ACTIONS else point.name
                raise ValueError(f"{mine!r} ({what}) belongs to {entry.owner}. Use another {name}")

    def _contribute(
        self, point: Point[Any], value: Any, phase: Phase, rewrites: Rewrites = False
    ) -> None:
        rank = self._kernel.settings.rank(self.id)
        add = self._kernel.registry.add
        self._admit(point, value)
        entry, dispose = add(point, value, self.id, phase=phase, rank=rank, rewrites=rewrites)
        self._entries.append(entry)
        self._disposers.append(dispose)

    def _listen(self, kind: type[T], listener: Callable[[T], Awaitable[None]]) -> None:
        queue, dispose = self._kernel.bus.open(kind)
        self._disposers.append(dispose)
        guard, entry = self._kernel.guard, Entry(Phase.NORMAL, 0, 0, self.id, listener)
        self._entries.append(entry)

        async def drain() -> None:
            while True:
                event = await queue.get()
                try:
                    await guard.within(guard.patience, entry, listener, event)
                except SwitchedOff:
                    return
                except Exception as error:
                    guard.failed(self.id, f"listener {kind.__name__}", error)

        self.spawn(drain(), kind.__name__)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            point = f"task {task.get_name().partition(':')[2]}".strip()
            self._kernel.guard.failed(self.id, point, error)
