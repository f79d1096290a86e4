"""How many tokens each key has used within the last minute."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from .problems import Fault, Problem

MINUTE = 60.0
SPENT = (
    "This key has used {:,} tokens within a minute, and may use {:,}. Try again in {} s, or raise "
    "its limit in Settings, API keys."
)


class Spending:
    """Keeps what was used; what is older than a minute is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._alone: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._used: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)

    def add(self, owner: str, tokens: int) -> None:
        """Tokens that were read and written for this owner."""
        self._used[owner].append((self._clock(), tokens))

    def used(self, owner: str) -> int:
        """Tokens within the last minute."""
        used, since = self._used.get(owner), self._clock() - MINUTE
        while used and used[0][0] <= since:
            used.popleft()
        if not used:
            self._used.pop(owner, None)
            return 0
        return sum(tokens for _, tokens in used)

    @asynccontextmanager
    async def alone(self, owner: str, most: int) -> AsyncGenerator[None]:
        """Until it is known what is used now, for who has a limit: others of the same wait."""
        if not most:
            yield
            return
        async with self._alone[owner]:
            self.check(owner, most)
            yield

    def at_once(self, owner: str, most: int, tokens: int, limit: int) -> int:
        """How many requests for so many tokens may be under way together, one at least, within
        what is left and the `limit` that holds anyway; 0 is no limit, of both."""
        if not most:
            return limit
        fit = max(1, (most - self.used(owner)) // max(1, tokens))
        return min(fit, limit) if limit else fit

    def check(self, owner: str, most: int) -> None:
        """Raises Problem (429) with the seconds to wait, where nothing is left; 0 is no limit."""
        if not most or (spent := self.used(owner)) < most:
            return
        left = spent
        for at, tokens in self._used[owner]:
            left -= tokens
            if left < most:
                seconds = int(at + MINUTE - self._clock()) + 1
                says = SPENT.format(spent, most, seconds)
                raise Problem(Fault(says, "rate_limit_error", None, "tokens_per_minute"), seconds)
