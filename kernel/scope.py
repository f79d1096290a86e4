"""What an extension owns: contributions, tasks and resources, which all end when it stops."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from kernel.clients import ACTIONS, Handler
from kernel.guard import contained
from kernel.points import Entry, Phase, Point

if TYPE_CHECKING:
    from kernel.manager import Kernel

T = TypeVar("T")


class Scope:
    """Leaving it withdraws every contribution, task and resource made through it."""

    def __init__(self, id: str, kernel: "Kernel", stack: AsyncExitStack) -> None:
        self.id = id
        self.log = logging.getLogger(f"extensions.{id}")
        self.why = ""
        """While it stops: why, as a sentence for a person."""
        self._kernel, self._stack = kernel, stack
        self._tasks: set[asyncio.Task[Any]] = set()
        self._disposers: list[Callable[[], None]] = []
        self._entries: list[Entry[Any]] = []

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Open a resource that is closed when the extension stops."""
        return await self._stack.enter_async_context(manager)

    def defer(self, undo: Callable[[], Any]) -> None:
        """Call (and await) `undo` when the extension stops."""

        async def run() -> None:
            if inspect.isawaitable(result := undo()):
                await result

        self._stack.push_async_callback(run)

    def spawn(self, work: Coroutine[Any, Any, T], name: str = "") -> "asyncio.Task[T]":
        """Run `work` in the background; it is cancelled when the extension stops."""
        task = asyncio.create_task(contained(work), name=f"{self.id}:{name}")
        task.add_done_callback(lambda _: work.close())  # It may end before it began.
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run blocking code off the event loop."""
        return await asyncio.to_thread(function, *args)

    async def leave(self) -> None:
        """Withdraw contributions, let modifiers leave, cancel tasks; resources close after this."""
        while self._disposers:
            self._disposers.pop()()
        for lease in [lease for entry in self._entries for lease in entry.leases]:
            lease.leave()
        deadline = asyncio.get_running_loop().time() + self._kernel.guard.budget
        while any(entry.leases for entry in self._entries):
            if asyncio.get_running_loop().time() > deadline:
                self.log.warning("%s did not leave a reply in time", self.id)
                break
            await asyncio.sleep(0.005)
        for task in (tasks := tuple(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- inside ------------------------------------------------------------------------

    def _contribute(
        self, point: Point[Any], value: Any, phase: Phase, rewrites: bool = False
    ) -> None:
        rank = self._kernel.settings.rank(self.id)
        registry = self._kernel.registry
        taken = [handler.name for handler in registry.values(ACTIONS)]
        if isinstance(value, Handler) and value.name in taken:
            raise ValueError(f"{value.name} has a handler already")
        entry, dispose = registry.add(
            point, value, self.id, phase=phase, rank=rank, rewrites=rewrites
        )
        self._entries.append(entry)
        self._disposers.append(dispose)

    def _listen(self, kind: type[T], listener: Callable[[T], Awaitable[None]]) -> None:
        queue, dispose = self._kernel.bus.open(kind)
        self._disposers.append(dispose)

        async def drain() -> None:
            while True:
                event = await queue.get()
                try:
                    async with asyncio.timeout(30):
                        await listener(event)
                except (Exception, SystemExit) as error:
                    self._kernel.guard.failed(self.id, kind.__name__, error)

        self.spawn(drain(), kind.__name__)

    def _owns(self, task: asyncio.Task[Any]) -> None:
        """A job of its own: it ends with the extension, and tells by itself how it went."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._kernel.guard.failed(self.id, task.get_name(), error)
