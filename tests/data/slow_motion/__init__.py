"""Lets a reply come a word at a time, so that a test can act while it streams."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from kernel.api import OUTPUT, Delta, Extension, Meta, Struct, Turn


class Settings(Struct, frozen=True):
    """The extension's settings."""

    pause: Annotated[float, Meta(ge=0, le=1, description="Seconds before each piece.")] = 0.1


async def setup(ext: Extension[Any]) -> None:
    @ext.on(OUTPUT)
    async def slowly(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            await asyncio.sleep(ext.settings.pause)
            yield delta
