"""An engine that says the same text at any speed, and an action that does nothing."""

from pathlib import Path
from typing import Any

from kernel.api import LOADERS, Action, Client, Extension, Struct, WorkerLoader


class Options(Struct, frozen=True):
    """It has none: how fast it speaks is in the prompt."""


class Nothing(Action, frozen=True):
    """The least that an action can do: answer."""

    word: str


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
        html = f'<span id="page-go" hidden hx-swap-oob="true">{action.word}</span>'
        ext.push_html(html, client)
