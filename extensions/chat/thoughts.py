"""Where in a reply its thoughts stand, and how long each took: kept with the conversation."""

import time
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

from extensions.conversations.api import Store, StoredMessage, Unknown
from kernel.api import Delta, Extension

from .markdown import Markdown


class Place(NamedTuple):
    """A thought: how many characters of the answer stand before it, its own, and its seconds."""

    at: int
    length: int
    seconds: float = 0.0


class Places:
    """Hears a reply and remembers where its thoughts stand; `before` is what it goes on with."""

    def __init__(self, text: str = "", before: Iterable[Place] = ()) -> None:
        self._given = len(text)
        self._said = self._given
        self._places = [*before]
        self._kept = len(self._places)
        self._open = bool(self._places) and self._places[-1].at == self._said
        self._since = 0.0
        """When the thought began that is being written; 0: none is."""

    def hear(self, delta: Delta) -> None:
        if delta.choice:
            return
        if delta.channel == "text":
            self._answer(delta)
        elif delta.channel == "reasoning" and delta.replace:
            del self._places[self._kept :]
            self._since, self._open = 0.0, False
            self._think(len(delta.text))
        elif delta.channel == "reasoning":
            self._think(len(delta.text))

    def all(self) -> tuple[Place, ...]:
        return tuple(self._places)

    # --- inside ------------------------------------------------------------------------

    def _answer(self, delta: Delta) -> None:
        if delta.text:
            self._since, self._open = 0.0, False
        if delta.replace:  # Nobody knows where in other words they would stand: before them.
            self._said = self._given
            late = self._places[self._kept :]
            self._places[self._kept :] = [place._replace(at=self._given) for place in late]
        self._said += len(delta.text)

    def _think(self, length: int) -> None:
        if not length:
            return
        now = time.monotonic()
        if not self._open:
            self._places.append(Place(self._said, 0))
        place, since = self._places[-1], self._since or now
        seconds = max(place.seconds + now - since, 0.001)
        self._places[-1] = Place(place.at, place.length + length, seconds)
        self._since, self._open = now, True


class Keeping:
    """The places of the thoughts of replies that have ended."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, message: StoredMessage, places: Sequence[Place]) -> None:
        if places:
            key, value = f"thoughts {message.id}", [[*place] for place in places]
            await self._store.set_state(message.conversation, "chat", key, value)

    async def of(self, message: StoredMessage) -> tuple[Place, ...]:
        """Where they stand: before the answer, if nobody kept that."""
        if not message.reasoning:
            return ()
        try:
            said = await self._store.state(message.conversation, "chat", f"thoughts {message.id}")
            places = tuple(Place(int(at), int(length), float(s)) for at, length, s in said)
        except (Unknown, TypeError, ValueError):
            places = ()
        if sum(place.length for place in places) == len(message.reasoning):
            return places
        return (Place(0, len(message.reasoning)),)


def took(seconds: float | None) -> str:
    """What stands above a thought; None: it is being written, 0: nobody knows."""
    if seconds is None:
        return "Thinking…"
    if not seconds:
        return "Thoughts"
    if seconds < 60:
        return f"Thought for {max(1, round(seconds))} s"
    return f"Thought for {int(seconds) // 60} min {int(seconds) % 60} s"


class Thought:
    """A thought as it is written; `html` is its block in the page."""

    def __init__(
        self,
        ext: Extension[Any],
        message: str,
        number: int,
        words: str = "",
        seconds: float | None = None,
    ) -> None:
        self._ext, self._message = ext, message
        self.id = f"chat-m{message}-thought-{number}"
        self.number, self.words, self.seconds = number, [words], seconds
        """Its words in pieces; its seconds, if it has ended."""
        self.sent = 0
        """How many of the pieces the pages have."""
        self._begun, self._told = time.monotonic(), self.label

    @property
    def label(self) -> str:
        return took(self.seconds)

    def end(self) -> None:
        if self.seconds is None:
            self.seconds = time.monotonic() - self._begun

    def html(self, pieces: int | None = None) -> str:
        """All of it, or as many pieces of its words."""
        words, self._told = "".join(self.words[:pieces]), self.label
        context = {"id": self._message, "number": self.number, "label": self.label, "words": words}
        return str(self._ext.render("_thought.html", **context)).strip()  # Markup would escape.

    def news(self) -> str:
        """What changed since the last frame, as HTML."""
        words = escape("".join(self.words[self.sent :]), quote=False)
        html = f'<div id="{self.id}" hx-swap-oob="beforeend">{words}</div>' if words else ""
        self.sent = len(self.words)
        if self.label != self._told:
            self._told = self.label
            id = f"chat-m{self._message}-took-{self.number}"
            html += f'<summary id="{id}" hx-swap-oob="innerHTML">{self.label}</summary>'
        return html


def parts(message: StoredMessage, places: Sequence[Place]) -> Iterator[tuple[str, Place | None]]:
    """A reply in order: words of its answer (without a place) and its thoughts."""
    at = read = 0
    for place in places:
        end = min(max(place.at, at), len(message.text))
        if end > at:
            yield message.text[at:end], None
        yield message.reasoning[read : read + place.length], place
        at, read = end, read + place.length
    if at < len(message.text):
        yield message.text[at:], None


def whole(
    ext: Extension[Any], markdown: Markdown, message: StoredMessage, places: Sequence[Place]
) -> str:
    """A reply that has ended as HTML: its answer, and its thoughts where they stand."""
    html, number = "", 0
    for words, place in parts(message, places):
        number += bool(place)
        html += (
            Thought(ext, message.id, number, words, place.seconds).html()
            if place
            else markdown.render(words)
        )
    return html
