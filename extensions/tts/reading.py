"""What is read to which page, also when its connection was lost and came back."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from extensions.conversations.api import Store, Unknown
from kernel.api import Client, Extension, Turn

from .speech import Speech, without_code

AHEAD = 5
"""Clips that wait for a page to take them."""
GRACE = 30
"""Seconds for which a page that is gone may come back, and hear the rest."""


class Reading:
    """What a page hears without a break: a text, or what several say one after the other."""

    def __init__(self, conversation: str, number: int) -> None:
        self.conversation, self.number = conversation, number
        self.heard = asyncio.Queue[str | None]()
        """Sentences; None ends a text, and another may follow."""
        self.clips = deque[str]()
        """The last that the page was told of."""
        self.task: asyncio.Task[None] | None = None


class Listener:
    """A page by the word that it has for itself: its connection may be another one by now."""

    def __init__(self, client: Client) -> None:
        self.client, self.word = client, ""
        self.reading: Reading | None = None


class Readings:
    """All that is read now, one thing at a time to each page."""

    def __init__(self, ext: Extension[Any], store: Store, speech: Speech) -> None:
        self._ext, self._store, self._speech = ext, store, speech
        self._numbers = itertools.count(time.time_ns() // 1_000_000)
        """Of readings: a page stays when this starts anew, and plays none with a lower number."""
        self._listeners: dict[str, Listener] = {}
        """By the ids of their connections, lost ones too: a turn keeps that which it began with."""
        self._words: dict[str, Listener] = {}

    # --- pages -------------------------------------------------------------------------

    def of(self, client: Client) -> Listener:
        return self._listeners.setdefault(client.id, Listener(client))

    async def came(self, client: Client, word: str) -> None:
        """A page tells its word, also when it comes back; what it did not take it is told again."""
        mine = self.of(client)
        listener = self._words.setdefault(mine.word or word, mine)
        listener.word = listener.word or word
        self._listeners[client.id], listener.client = listener, client
        if reading := listener.reading:
            for clip in filter(self._speech.waits, tuple(reading.clips)):
                await self._tell(listener, reading.number, clip)

    def left(self, client: Client) -> None:
        listener = self._listeners.get(client.id)
        if listener and listener.client is client:
            self._ext.spawn(self._forget(listener, client), "forget")

    async def _forget(self, listener: Listener, client: Client) -> None:
        await asyncio.sleep(GRACE)
        if listener.client is client:
            self.hush(listener)
            self._words.pop(listener.word, None)
            for id in [id for id, other in self._listeners.items() if other is listener]:
                del self._listeners[id]

    # --- readings ----------------------------------------------------------------------

    async def begin(self, listener: Listener, conversation: str) -> Reading:
        """Read something new: what was read before ends."""
        await self.end(listener)
        reading = listener.reading = Reading(conversation, next(self._numbers))
        reading.task = self._ext.spawn(self._read(listener, reading), "read")
        return reading

    async def end(self, listener: Listener) -> None:
        """Read no more, and let the page leave what it has not played."""
        if listener.reading:
            self.hush(listener)
            await self._tell(listener, next(self._numbers))

    def hush(self, listener: Listener) -> None:
        """Make no more clips."""
        reading, listener.reading = listener.reading, None
        if reading and reading.task:
            reading.task.cancel()

    async def answer(self, turn: Turn, *, aloud: bool) -> Reading | None:
        """A reply begins: what was read to its page ends, unless the reply just follows it.

        Answers where its sentences go, if it is to be read `aloud`.
        """
        listener = self._listeners.get(turn.client or "")
        if not listener:
            return None
        if not listener.reading or not await self._follows(turn, listener.reading):
            await self.end(listener)
            if aloud:
                await self.begin(listener, turn.conversation_id or "")
        return listener.reading if aloud else None

    async def end_if_gone(self, listener: Listener) -> bool:
        """Read nothing of a conversation that was deleted; whether it was."""
        reading = listener.reading
        if not reading or not reading.conversation:
            return False
        try:
            await self._store.conversation(reading.conversation)
        except Unknown:
            await self.end(listener)
            return True
        return False

    async def _follows(self, turn: Turn, reading: Reading) -> bool:
        """Whether somebody else of a group goes on; a new version of a reply follows nothing."""
        id = turn.conversation_id
        if not id or id != reading.conversation or turn.messages:
            return False
        try:
            leaf = (await self._store.conversation(id)).leaf
            return (await self._store.message(leaf)).versions == 1
        except Unknown:
            return False

    async def _read(self, listener: Listener, reading: Reading) -> None:
        """Clips are made as the page takes them: those of a long text would not all be kept so
        long."""
        try:
            while True:
                async for sentence in without_code(_each(reading.heard)):
                    if await self.end_if_gone(listener):
                        return
                    await self._say(sentence, listener, reading)
        except (RuntimeError, OSError) as error:
            listener.reading = None
            why = f"Reading aloud failed: {error}. Try another voice, or install espeak-ng anew."
            self._ext.tell(why, listener.client, "error")

    async def _say(self, sentence: str, listener: Listener, reading: Reading) -> None:
        s = self._ext.settings
        voice = s.voice if s.variant == "plain" else f"{s.voice}+{s.variant}"
        if not (clip := await self._speech.say(sentence, voice, s.speed)):
            return
        reading.clips.append(clip)
        await self._tell(listener, reading.number, clip)
        if len(reading.clips) == AHEAD:
            await self._speech.taken(reading.clips[0])
            reading.clips.popleft()

    async def _tell(self, listener: Listener, number: int, clip: str = "") -> None:
        await self._ext.push("_clip.html", listener.client, clip=clip, text=number)


async def _each(heard: "asyncio.Queue[str | None]") -> AsyncIterator[str]:
    while (sentence := await heard.get()) is not None:
        yield sentence
