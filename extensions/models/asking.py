"""What other extensions are asked for a form: none of them holds it up, or fails for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 0.8
"""Seconds for an answer; the panel in which it stands has two, and asks loaders and others."""
log = logging.getLogger(__name__)


async def answered(ask: Callable[..., Awaitable[T]], *about: object, otherwise: T) -> T:
    """What it answers; where it fails, or takes too long, its part is left out."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await ask(*about)
    except Exception:
        log.exception("A part of a form could not be shown")
        return otherwise
