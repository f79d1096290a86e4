"""What an extension says in the engine's place: checked, leased, and not waited for without end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from kernel.contract import Delta, Finish
from kernel.generation import GONE
from kernel.guard import Guard, Lease, SwitchedOff
from kernel.pipe import Pipe
from kernel.pipeline import checked, pump
from kernel.points import Entry
from kernel.records import told
from kernel.waiting import limited


class AnswerFailed(RuntimeError):
    """It failed at its answer; a sentence for the user."""


class Answer:
    """The deltas of a `GENERATE` extension."""

    def __init__(
        self, guard: Guard, entry: Entry[Any], deltas: AsyncIterator[Delta], name: str
    ) -> None:
        self.finish: Finish | None = None
        self._guard, self._entry, self._deltas, self._name = guard, entry, deltas, name
        self._pipe, self._first = Pipe(), list[Delta]()
        work = pump(deltas, self._pipe)
        task = self._task = asyncio.create_task(work, name=f"{entry.owner}:generate")
        self._lease = Lease(entry, task.cancel)
        task.add_done_callback(self._over)

    async def begins(self) -> bool:
        """Wait for its first word; one that fails or ends before that has not answered at all."""
        try:
            self._first.append(await self._next())
        except StopAsyncIteration:
            return self.finish is not None
        except (AnswerFailed, *GONE):
            return False
        return True

    def __aiter__(self) -> "Answer":
        return self

    async def __anext__(self) -> Delta:
        return self._first.pop() if self._first else await self._next()

    async def _next(self) -> Delta:
        try:
            async with limited(self._guard.silence):
                delta = await anext(self._pipe)
            checked(delta)
            return delta
        except StopAsyncIteration:
            finish = getattr(self._deltas, "finish", None)
            self.finish = finish if isinstance(finish, Finish) else None
            raise
        except Exception as error:
            if self._lease.left:
                raise SwitchedOff(f"{self._name} was switched off.") from None
            if isinstance(error, GONE):
                raise
            if isinstance(error, TimeoutError):
                error = TimeoutError(f"said nothing for {self._guard.silence:g} s")
            self._guard.failed(self._entry.owner, "generate", error)
            why = f"{self._name} failed while it answered: {told(error)}. "
            raise AnswerFailed(why + "Try again, or switch it off in Settings.") from error

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._lease.done()
        if task.cancelled():  # Before its first step it closed nothing.
            self._pipe.close(RuntimeError("was cancelled"))

    async def close(self) -> None:
        """The reader is gone."""
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=0.1)
