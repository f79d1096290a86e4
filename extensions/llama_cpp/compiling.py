"""A load that waits for its engine's wheel to be built."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from extensions.llama_cpp.building import unheard
from kernel.api import Extension

Report = Callable[[float, str], None]


async def before_load(ext: Extension[Any], variant: str, report: Report) -> None:
    """Build the wheel for the environment of `ext`, where pip then finds it, unless it is there.

    Half of `report` is left to the installation. Raises NotBuilt.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()

    def said(fraction: float, note: str) -> None:
        loop.call_soon_threadsafe(report, fraction / 2, f"Building llama.cpp: {note}")

    try:
        await ext.thread(unheard, ext.environments, variant, said, stop.is_set)
    finally:
        stop.set()  # A load that is cancelled builds no further.
