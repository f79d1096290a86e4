"""Talk in your language to a model that is better in another."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated

from msgspec.structs import replace

from kernel.api import (
    HISTORY,
    INPUT,
    OUTPUT,
    PANELS,
    Client,
    Delta,
    Everyone,
    Extension,
    Message,
    Meta,
    NotAvailable,
    Panel,
    Past,
    Phase,
    Sentences,
    Struct,
    Text,
    Turn,
)

from .api import TRANSLATORS, Translator
from .attempt import Attempt
from .memory import Memory

Code = Annotated[str, Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
NOBODY = (
    "Translate finds no translator, so nothing is translated. "
    "Translate in Settings tells how to add one."
)


class Settings(Struct, frozen=True):
    """Between which languages."""

    mine: Annotated[Code, Meta(description="The language you write and read, as a code.")] = "de"
    model: Annotated[Code, Meta(description="The language the model is addressed in.")] = "en"
    translator: Annotated[
        str, Meta(max_length=60, description="Which translator; empty takes the first.")
    ] = ""


async def setup(ext: Extension[Settings]) -> None:
    told = False

    def translator() -> Translator:
        wanted = ext.settings.translator
        for each in ext.get(TRANSLATORS):
            if wanted in ("", each.id):
                return each
        raise NotAvailable(NOBODY)

    def ready() -> bool:
        """Whether there is somebody to ask; it is said once if not."""
        nonlocal told
        try:
            translator()
        except NotAvailable as error:
            if not told:
                ext.tell(str(error), Everyone())
            told = True
            return False
        return True

    memory = Memory(ext, translator)

    async def for_model(messages: Sequence[Message], turn: Turn) -> tuple[Message, ...]:
        """The newest first, should there not be time for all. A page keeps the model's own words;
        a program knows only what it was told, and sends that back."""
        roles = ("user",) if turn.conversation_id else ("user", "assistant")
        words = [
            part.text
            for message in reversed(messages)
            if message.role in roles
            for part in message.parts
            if isinstance(part, Text)
        ]
        attempt = Attempt(ext, memory, turn)
        said = await attempt.translate(words, ext.settings.mine, ext.settings.model)
        return tuple(_saying(said, each) if each.role in roles else each for each in messages)

    @ext.on(INPUT, phase=Phase.EARLY)
    async def mine(turn: Turn) -> Turn:
        if not ready():
            return turn
        return replace(turn, messages=await for_model(turn.messages, turn))

    @ext.on(HISTORY, phase=Phase.EARLY)
    async def before(past: Past) -> Past:
        if not ready():
            return past
        return replace(past, messages=await for_model(past.messages, past.turn))

    @ext.on(OUTPUT, phase=Phase.LATE)
    async def reply(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        if turn.prompt is not None or not ready():
            async for delta in deltas:
                yield delta
            return
        attempt, sentences = Attempt(ext, memory, turn), Sentences()
        heard = told = ""

        async def for_me(*texts: str) -> list[Delta]:
            said = await attempt.translate(texts, ext.settings.model, ext.settings.mine)
            return [Delta(said[text]) for text in texts if text]

        async for delta in deltas:
            if delta.channel != "text" or delta.choice:
                yield delta
                continue
            heard = delta.onto(heard)
            if delta.replace:
                sentences, told = Sentences(), ""
                yield Delta(replace=True)
            for said in await for_me(*sentences.hear(replace(delta, replace=False))):
                told += said.text
                yield said
        for said in await for_me(sentences.end()):
            told += said.text
            yield said
        if not turn.conversation_id and ready():
            memory.know(told, ext.settings.mine, ext.settings.model, heard)

    async def context(client: Client | None, subject: str) -> dict[str, object]:
        known, now = ext.get(TRANSLATORS), ext.settings
        chosen = next((e.label for e in known if now.translator in ("", e.id)), "Nobody")
        return {"translators": known, "chosen": chosen, "mine": now.mine, "model": now.model}

    ext.add(PANELS, Panel("settings", "section.html", context, title="Translate"))


def _saying(said: Mapping[str, str], message: Message) -> Message:
    """The message with the translations of its texts."""
    parts = (Text(said[p.text]) if isinstance(p, Text) else p for p in message.parts)
    return replace(message, parts=tuple(parts))
