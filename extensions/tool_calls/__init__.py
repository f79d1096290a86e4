"""Calls of tools: offered to the model, told from its words, and put before it again."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from kernel.api import (
    GENERATE,
    OUTPUT,
    REQUEST,
    Delta,
    Draft,
    Extension,
    Finish,
    Meta,
    Phase,
    SettingsChanged,
    Struct,
)

from .asking import asked, forced
from .choosing import choice_of, grammar_of, refusal
from .parting import apart


class Settings(Struct, frozen=True):
    """What is done for models that never learnt of tools."""

    tell_all: Annotated[
        bool,
        Meta(description="Tell models of tools in words where their chat template has no place."),
    ] = True


class Refusal:
    """An answer in the engine's place: that it cannot be done, and why."""

    def __init__(self, why: str) -> None:
        self.finish = Finish("error", error=why, refused="tool_choice")

    def __aiter__(self) -> "Refusal":
        return self

    async def __anext__(self) -> Delta:
        raise StopAsyncIteration


async def setup(ext: Extension[Settings]) -> None:
    def info(draft: Draft) -> Any:
        model = ext.slot(draft.request.slot).model
        return model.info if model else None

    ext.on(OUTPUT, phase=Phase.EARLY)(apart)

    @ext.on(REQUEST, phase=Phase.LATE)
    async def ask(draft: Draft) -> Draft:
        known, turn = info(draft), draft.turn
        draft = asked(draft, known, tell_all=ext.settings.tell_all)
        free = turn.prompt is not None or not choice_of(turn).forced
        if free or refusal(turn, known, draft.request.grammar):
            return draft
        return forced(draft, await ext.thread(grammar_of, turn))

    @ext.on(GENERATE, phase=Phase.EARLY)
    async def refuse(draft: Draft) -> AsyncIterator[Delta] | None:
        why = refusal(draft.turn, info(draft), draft.request.grammar)
        return Refusal(why) if why else None

    @ext.on(SettingsChanged)
    async def changed(_: SettingsChanged) -> None:
        """The next turn reads the settings anew."""
