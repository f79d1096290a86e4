"""Reads replies aloud, sentence by sentence, while they are being written."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, get_args

from extensions.api_kit.api import SPEECH
from extensions.conversations.api import STORE
from kernel.api import (
    DISPLAY,
    PANELS,
    ROUTES,
    Action,
    Client,
    Delta,
    Disconnected,
    Extension,
    Meta,
    Panel,
    Phase,
    Route,
    Router,
    Routes,
    Sentences,
    Struct,
    Turn,
)

from .lending import Lent
from .reading import Readings
from .speech import Speech

Voice = Literal[
    "en-us", "en-gb", "ar", "cmn", "cs", "da", "de", "el", "es", "fi", "fr-fr", "he", "hi", "hu",
    "id", "it", "ja", "ko", "nb", "nl", "pl", "pt", "pt-br", "ro", "ru", "sv", "tr", "uk", "vi",
]  # fmt: skip
Variant = Literal["plain", "f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "croak", "whisper"]


class Settings(Struct, frozen=True):
    """Who speaks, and when."""

    autoplay: Annotated[bool, Meta(description="Read replies while they are written.")] = True
    voice: Annotated[Voice, Meta(description="The language that is spoken.")] = "en-us"
    variant: Annotated[Variant, Meta(description="Who speaks it.")] = "plain"
    speed: Annotated[
        int, Meta(ge=80, le=450, description="Words in a minute.", extra={"step": 5})
    ] = 175


class Speak(Action, frozen=True):
    """Read a message aloud."""

    message: str


class Hush(Action, frozen=True):
    """Make no more clips for the page that asks."""


class Listen(Action, frozen=True):
    """Be known as a page by a word of its own, which outlives its connection."""

    word: Annotated[str, Meta(min_length=16, max_length=64)]


async def setup(ext: Extension[Settings]) -> None:
    store = ext.one(STORE)
    speech = Speech.found()
    readings = Readings(ext, store, speech)

    @ext.on(DISPLAY, phase=Phase.LATE)
    async def read_aloud(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        reading = await readings.answer(turn, aloud=ext.settings.autoplay)
        if not reading:
            async for delta in deltas:
                yield delta
            return
        sentences = Sentences()
        try:
            async for delta in deltas:
                yield delta
                for sentence in sentences.hear(delta):
                    reading.heard.put_nowait(sentence)
            reading.heard.put_nowait(sentences.end())
        finally:
            reading.heard.put_nowait(None)

    @ext.on(Speak)
    async def speak(action: Speak, client: Client) -> None:
        message = await store.message(action.message)
        reading = await readings.begin(readings.of(client), message.conversation)
        sentences = Sentences()
        for sentence in (*sentences.hear(Delta(message.text)), sentences.end(), None):
            reading.heard.put_nowait(sentence)

    @ext.on(Hush)
    async def on_hush(action: Hush, client: Client) -> None:
        readings.hush(readings.of(client))

    @ext.on(Listen)
    async def listen(action: Listen, client: Client) -> None:
        await readings.came(client, action.word)

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        readings.left(event.client)

    async def player(client: Client | None, subject: str) -> dict[str, Any]:
        if client and client.id:
            await readings.end_if_gone(readings.of(client))
        return {}

    async def button(client: Client | None, subject: str) -> dict[str, Any]:
        return {"message": subject}

    ext.spawn(speech.forgetting(), "clips")
    ext.add(SPEECH, Lent(speech, lambda: ext.settings, get_args(Voice)))
    ext.add(PANELS, Panel("status", "player.html", player, order=40))
    ext.add(PANELS, Panel("message_actions", "button.html", button))
    ext.add(ROUTES, Routes(Router([Route("/ext/tts/clips/{name}", speech.serve)]), "page"))
