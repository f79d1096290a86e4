"""A modifier without resources of its own, in the middle of every reply."""

from collections.abc import AsyncIterator
from typing import Any

from kernel.api import OUTPUT, Delta, Extension, Turn


async def setup(ext: Extension[Any]) -> None:
    @ext.on(OUTPUT)
    async def through(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield delta
