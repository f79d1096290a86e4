"""Answers every turn with the numbers to fifty-nine, one at a time, without any engine."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from kernel.api import GENERATE, Delta, Draft, Extension


async def setup(ext: Extension[Any]) -> None:
    @ext.on(GENERATE)
    async def count(draft: Draft) -> AsyncIterator[Delta]:
        async def numbers() -> AsyncIterator[Delta]:
            for number in range(60):
                await asyncio.sleep(0.04)
                yield Delta(f"{number} ")

        return numbers()
