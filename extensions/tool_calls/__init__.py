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

from .asking import asked, forced, held
from .choosing import begun, choice_of, either, grammar_of, is_schema, offered, refusal
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
        grammar = draft.request.grammar
        if turn.prompt is not None or refusal(turn, known, grammar):
            return draft
        if choice_of(turn).forced:
            return forced(draft, await ext.thread(grammar_of, turn))
        if offered(turn) and is_schema(grammar) and not begun(turn):
            return held(draft, await ext.thread(either, turn, grammar))
        return draft

    @ext.on(GENERATE, phase=Phase.EARLY)
    async def refuse(draft: Draft) -> AsyncIterator[Delta] | None:
        why = refusal(draft.turn, info(draft), draft.request.grammar)
        return Refusal(why) if why else None

    @ext.on(SettingsChanged)
    async def changed(_: SettingsChanged) -> None:
        """The next turn reads the settings anew."""
