"""Another model comes when nobody needs the one that is loaded any more."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from .calls import Asking, Call
from .stopping import Wait

STOPPED = "It was cancelled while it waited for its model."


class Holding:
    """Requests hold the model that is loaded, from when they are understood for it until their
    replies are written; who wants another waits for that. Who comes after that one is after it, so
    nobody waits without end.
    """

    def __init__(self) -> None:
        self._turns = asyncio.Lock()
        self._holds: Counter[Asking] = Counter()
        """Of each request, the replies that are not written yet, or 1 before the first."""
        self._early: set[Asking] = set()
        """Those without a reply so far; the first takes over what its request holds."""
        self._waits: dict[Asking, Wait] = {}
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
        Problem where it is stopped before the load."""
        async with AsyncExitStack() as turn:
            with self._waiting(call):
                await turn.enter_async_context(self._turns)
                if not there():
                    await self._free.wait()
            if not there():  # Nor did a person load it meanwhile.
                await load()
            self._hold(call)
            self._early.add(call)
        call.ends.append(lambda: self._give_up(call))

    def stop(self, owner: str) -> None:
        """What this caller asked for waits no longer for another model."""
        for call, wait in self._waits.items():
            if call.caller.owner == owner:
                wait.stop()

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

    @contextmanager
    def _waiting(self, call: Asking) -> Iterator[None]:
        with Wait(STOPPED) as self._waits[call]:
            try:
                yield
            finally:
                del self._waits[call]

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
