"""Another model comes when nobody needs the one that is loaded any more."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager

from .calls import Asking, Call
from .stopping import Wait

Waiting = Callable[[Asking], AbstractContextManager[Wait]]
"""As `Runs.waiting`."""


class Holding:
    """Requests hold the model that is loaded, from when they are understood for it until their
    replies are written; who wants another waits for that. Who comes after that one is after it, so
    nobody waits without end.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._turns = asyncio.Lock()
        self._holds: Counter[Asking] = Counter()
        """Of each request, the replies that are not written yet, or 1 before the first."""
        self._early: set[Asking] = set()
        """Those without a reply so far; the first takes over what its request holds."""
        self._waiting = waiting
        self._free = asyncio.Event()
        self._free.set()

    @property
    def held(self) -> bool:
        """Whether anybody needs the model."""
        return bool(self._holds)

    @property
    def waiting(self) -> bool:
        """Whether another comes, or is waited for."""
        return self._turns.locked()

    async def want(
        self, call: Call, there: Callable[[], bool], load: Callable[[], Awaitable[None]]
    ) -> None:
        """Have a model, which is `there` or is to `load`, and hold it for this request. Raises
        Problem where it is stopped before the load, and (429) where as many wait as may."""
        with self._waiting(call) as wait:
            async with AsyncExitStack() as turn:
                with wait:
                    await turn.enter_async_context(self._turns)
                    if not there():
                        await self._free.wait()
                if not there():  # Nor did a person load it meanwhile.
                    await load()
                self._hold(call)
                self._early.add(call)
        call.ends.append(lambda: self._give_up(call))

    @asynccontextmanager
    async def reply(self, call: Asking) -> AsyncGenerator[Callable[[], None]]:
        """Hold the model that is loaded for a reply, until the end or until it is let go by a call
        of what this yields."""
        if call not in self._holds:
            async with self._turns:  # Who waits for another model came before.
                pass
        if call in self._early:
            self._early.remove(call)
        else:
            self._hold(call)
        with ExitStack() as leaving:
            leaving.callback(self._let_go, call)
            yield leaving.close

    # --- inside ------------------------------------------------------------------------

    def _hold(self, call: Asking) -> None:
        self._holds[call] += 1
        self._free.clear()

    def _let_go(self, call: Asking) -> None:
        self._holds[call] -= 1
        self._holds += Counter()  # Forgets who holds nothing any more.
        if not self._holds:
            self._free.set()

    def _give_up(self, call: Asking) -> None:
        """The request has ended, perhaps without a reply."""
        if call in self._early:
            self._early.remove(call)
            self._let_go(call)
