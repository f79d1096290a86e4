"""Thoughts and answers told apart: while a reply is written, and before a model reads it again."""

from typing import Annotated

from kernel.api import (
    HISTORY,
    OUTPUT,
    Extension,
    Meta,
    Past,
    Phase,
    SettingsChanged,
    Struct,
    Turn,
)

from .history import remembered
from .streaming import apart


class Settings(Struct, frozen=True):
    """What holds where a conversation says nothing else."""

    preserve_thinking: Annotated[
        bool, Meta(description="A model sees what it thought at earlier replies again.")
    ] = False


async def setup(ext: Extension[Settings]) -> None:
    ext.on(OUTPUT, phase=Phase.EARLY, rewrites=of_a_page)(apart)

    @ext.on(HISTORY, phase=Phase.EARLY)
    async def remember(past: Past) -> Past:
        model = ext.slot(past.turn.slot).model
        template = model.info.chat_template if model else ""
        return remembered(past, ext.settings.preserve_thinking, template)

    @ext.on(SettingsChanged)
    async def changed(_: SettingsChanged) -> None:
        """The next turn reads the settings anew."""


def of_a_page(turn: Turn) -> bool:
    """Only a page takes words back: a program may have been told them already."""
    return bool(turn.client)
