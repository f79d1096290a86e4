"""Titles by the model: a few words, made while nobody waits for a reply."""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kernel.api import (
    Extension,
    Generation,
    LoadFailed,
    Message,
    NoModel,
    Refused,
    Request,
    Sampling,
    Text,
    WorkerDied,
    WorkerError,
)

from .records import StoredMessage, StoreFailed, Unknown
from .store import Store
from .text import is_secret, title_of

WANTED = (
    "Below is the beginning of a conversation. Answer with a title for it: at most six words, in "
    "the language of the conversation, without quotation marks and without a full stop.\n\n"
)
SAMPLING = Sampling(max_new_tokens=40, temperature=0.2)
SHOWN, LONGEST = 6, 1500
"""Messages that the model is shown, and characters of each."""
TRIES = 5
"""A reply that begins ends the making of a title; so often it is begun again."""
SECONDS = 120.0
THOUGHT = re.compile(r"<think>.*?(</think>|$)|^.*</think>", re.DOTALL)
NOTHING = "The model gave no title. Type one, or try again."


class Titles:
    """Asks the model for titles, one after the other, and gives way to every reply."""

    def __init__(self, ext: Extension[Any], store: Store, renamed: Callable[[str], None]) -> None:
        self._ext, self._store, self._renamed = ext, store, renamed
        self._free = asyncio.Event()
        self._free.set()
        self._one = asyncio.Lock()
        self._generation: Generation | None = None
        self._interrupted = False
        store.began.append(self._began)
        store.ended.append(self._ended)

    def close(self) -> None:
        self._store.began.remove(self._began)
        self._store.ended.remove(self._ended)

    async def give(self, id: str, *, asked: bool) -> None:
        """Give a conversation a title; unless it was `asked` for, none takes a person's place."""
        if is_secret(id):
            raise Refused("This conversation is incognito and has no title. Keep it first.")
        opened = await self._store.get(id, SHOWN)
        if not opened.messages:
            raise Refused("Nothing was said in it yet. Write something first.")
        words = "\n\n".join(
            f"{'User' if m.role == 'user' else 'Assistant'}: {m.text[:LONGEST]}"
            for m in opened.messages
        )
        async with self._one:
            title = await self._ask(Request(
                messages=(Message("user", (Text(WANTED + words),)),), sampling=SAMPLING
            ))  # fmt: skip
        if not title:
            raise Refused(NOTHING)
        await self._store.rename(id, title, by=2 if asked else 1)
        self._renamed(id)

    # --- inside ------------------------------------------------------------------------

    def _began(self) -> None:
        self._free.clear()
        if self._generation:
            self._interrupted = True
            self._generation.cancel()

    def _ended(self, message: StoredMessage) -> None:
        if not self._store.running:
            self._free.set()
        if self._ext.settings.titles and message.state == "done" and not is_secret(message.id):
            self._ext.spawn(self._first(message), f"title {message.conversation}")

    async def _first(self, message: StoredMessage) -> None:
        """After the first reply, if nobody gave it a title yet."""
        with suppress(Refused, StoreFailed, Unknown, NoModel, LoadFailed, WorkerError, WorkerDied):
            opened = await self._store.get(message.conversation, 4)
            asked = [m for m in opened.messages if m.role == "user"]
            if opened.conversation.titled or opened.earlier or len(asked) != 1:
                return
            await self.give(message.conversation, asked=False)

    async def _ask(self, request: Request) -> str:
        try:
            async with asyncio.timeout(SECONDS):
                for _ in range(TRIES):
                    await self._free.wait()
                    self._interrupted = False
                    text = await self._said(request)
                    if not self._interrupted:
                        return _cleaned(text)
        except TimeoutError:
            pass
        return ""

    async def _said(self, request: Request) -> str:
        text = ""
        generation = self._generation = await self._ext.generate(request)
        try:
            async for delta in generation:
                if delta.channel == "text":
                    text = delta.onto(text)
        finally:
            self._generation = None
            generation.cancel()
        return text


def _cleaned(text: str) -> str:
    """What the model said, as a title: its first line, without what titles do not have."""
    lines = [line for line in THOUGHT.sub("", text).splitlines() if line.strip(" *#_`")]
    line = re.sub(r"^\W*(title|titel|titre)\s*:", "", lines[0], flags=re.I) if lines else ""
    line = line.strip(" \t*#_`\"'“”„«»‘’.:")  # noqa: RUF001
    return title_of(line) if line else ""
