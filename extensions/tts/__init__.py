"""Reads replies aloud, sentence by sentence, while they are being written."""

import asyncio
import itertools
import time
from collections import deque
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
from .speech import Speech, without_code

Voice = Literal[
    "en-us", "en-gb", "ar", "cmn", "cs", "da", "de", "el", "es", "fi", "fr-fr", "he", "hi", "hu",
    "id", "it", "ja", "ko", "nb", "nl", "pl", "pt", "pt-br", "ro", "ru", "sv", "tr", "uk", "vi",
]  # fmt: skip
Variant = Literal["plain", "f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "croak", "whisper"]

AHEAD = 5
"""Clips that wait for a page to take them."""


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


async def setup(ext: Extension[Settings]) -> None:
    store = ext.one(STORE)
    speech = Speech.found()
    clients: dict[str, Client] = {}
    reading: dict[str, asyncio.Task[Any]] = {}
    numbers = itertools.count(time.time_ns() // 1_000_000)
    """Of texts: a page stays when this starts anew, and plays none with a lower number."""

    async def read(sentences: AsyncIterator[str], client: Client) -> None:
        """Send the clips of one text; the page leaves the one before when a new one begins.

        They are made as the page takes them: those of a long text would not all be kept so long.
        """
        text, ahead = next(numbers), deque[str]()
        s = ext.settings
        voice = s.voice if s.variant == "plain" else f"{s.voice}+{s.variant}"
        async for sentence in without_code(sentences):
            if clip := await speech.say(sentence, voice, s.speed):
                await ext.push("_clip.html", client, clip=clip, text=text)
                ahead.append(clip)
            if len(ahead) == AHEAD:
                await speech.taken(ahead.popleft())

    def begin(sentences: AsyncIterator[str], client: Client) -> None:
        hush(client)
        reading[client.id] = ext.spawn(read(sentences, client), "read")

    def hush(client: Client) -> None:
        if task := reading.pop(client.id, None):
            task.cancel()

    @ext.on(DISPLAY, phase=Phase.LATE)
    async def read_aloud(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        client = clients.get(turn.client or "")
        if not client or not ext.settings.autoplay:
            async for delta in deltas:
                yield delta
            return
        sentences, heard = Sentences(), asyncio.Queue[str | None]()
        begin(_each(heard), client)
        try:
            async for delta in deltas:
                yield delta
                for sentence in sentences.hear(delta):
                    heard.put_nowait(sentence)
            heard.put_nowait(sentences.end())
        finally:
            heard.put_nowait(None)

    @ext.on(Speak)
    async def speak(action: Speak, client: Client) -> None:
        message = await store.message(action.message)
        sentences, heard = Sentences(), asyncio.Queue[str | None]()
        for sentence in (*sentences.hear(Delta(message.text)), sentences.end(), None):
            heard.put_nowait(sentence)
        begin(_each(heard), client)

    @ext.on(Hush)
    async def on_hush(action: Hush, client: Client) -> None:
        hush(client)

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        clients.pop(event.client.id, None)
        hush(event.client)

    async def player(client: Client | None, subject: str) -> dict[str, Any]:
        if client and client.id:
            clients[client.id] = client
        return {}

    async def button(client: Client | None, subject: str) -> dict[str, Any]:
        return {"message": subject}

    ext.add(SPEECH, Lent(speech, lambda: ext.settings, get_args(Voice)))
    ext.add(PANELS, Panel("status", "player.html", player, order=40))
    ext.add(PANELS, Panel("message_actions", "button.html", button))
    ext.add(ROUTES, Routes(Router([Route("/ext/tts/clips/{name}", speech.serve)]), "page"))


async def _each(heard: "asyncio.Queue[str | None]") -> AsyncIterator[str]:
    while (sentence := await heard.get()) is not None:
        yield sentence
