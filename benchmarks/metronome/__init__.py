"""An engine that says the same text at any speed, an action that does nothing, and a broadcast."""

import asyncio
import time
from pathlib import Path
from typing import Any

from kernel.api import LOADERS, Action, Client, Everyone, Extension, Struct, WorkerLoader

WORD = '<span id="page-go" hidden hx-swap-oob="true">{}</span>'
FILLING = "as many words as a frame of a reply usually has " * 8


class Options(Struct, frozen=True):
    """It has none: how fast it speaks is in the prompt."""


class Nothing(Action, frozen=True):
    """The least that an action can do: answer."""

    word: str


class Broadcast(Action, frozen=True):
    """Send every page the time, so many times a second."""

    rate: int
    seconds: int


async def setup(ext: Extension[Any]) -> None:
    loader = WorkerLoader(
        ext,
        id="metronome",
        label="Metronome",
        engine="worker.py:Engine",
        Options=Options,
        accepts=lambda path: Path(path).suffix == ".tick",
    )
    ext.add(LOADERS, loader)

    @ext.on(Nothing)
    async def nothing(action: Nothing, client: Client) -> None:
        ext.push_html(WORD.format(action.word), client)

    @ext.on(Broadcast)
    async def broadcast(action: Broadcast, _: Client) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for n in range(action.rate * action.seconds):
            await asyncio.sleep(max(0.0, begun + n / action.rate - loop.time()))
            ext.push_html(WORD.format(f"{FILLING} at {time.time()} "), Everyone())
