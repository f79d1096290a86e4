"""`max_tokens_second`: words come no faster than somebody reads along."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from msgspec import UNSET, structs

from kernel.api import Delta, Draft, Turn

NAME = "max_tokens_second"
LONGEST = 1.5
"""Seconds that a piece waits at most: what held it for two would count as hung."""


class Pace:
    """Holds replies back; the model goes on at its own speed, and is never asked to do this."""

    def __init__(self, said: Callable[[], dict[str, Any]]) -> None:
        self._said = said

    async def leave_out(self, draft: Draft) -> Draft:
        """The `REQUEST` modifier: it is done here, for programs too."""
        if draft.request.sampling.max_tokens_second is UNSET:
            return draft
        sampling = structs.replace(draft.request.sampling, max_tokens_second=UNSET)
        request = structs.replace(draft.request, sampling=sampling)
        return structs.replace(draft, request=request)

    def hold(self, deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        """The `OUTPUT` modifier."""
        rate = self._rate(turn)
        return paced(deltas, rate) if rate else deltas

    def _rate(self, turn: Turn) -> int:
        """Tokens a second; 0 is as fast as can be. `INPUT` comes after this is asked."""
        rate = turn.sampling.max_tokens_second
        if rate is UNSET and turn.client:
            rate = self._said().get(NAME, 0)
        return 0 if rate is UNSET else rate


async def paced(deltas: AsyncIterator[Delta], rate: int) -> AsyncIterator[Delta]:
    """Each piece is due when the tokens before it had their time: `rate` of them a second."""
    now, due = asyncio.get_running_loop().time, 0.0
    async for delta in deltas:
        await asyncio.sleep(min(LONGEST, max(0.0, due - now())))
        due = max(due, now()) + max(1, len(delta.tokens)) / rate
        yield delta
