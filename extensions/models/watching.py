"""Looks into folders again and again, so that what changes there shows by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kernel.api import Extension

SHARE = 20
"""How much longer than a look takes the time between two of them is, at least."""
LONGEST = 60
"""Seconds between two looks, at most."""


async def watching(
    ext: Extension[Any], folder: Path, every: float, look: Callable[[], Awaitable[None]]
) -> None:
    """Look for ever, `every` so many seconds and into a large folder less often; a look that fails
    is logged, and is not the last."""
    pause = every
    while True:
        await asyncio.sleep(pause)
        began = time.monotonic()
        try:
            await look()
        except Exception:
            ext.log.exception("%s could not be listed", folder)
        pause = min(max(every, SHARE * (time.monotonic() - began)), LONGEST)
