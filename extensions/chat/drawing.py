"""One reply on the pages as it is written: at most 30 frames a second, its first word at once."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from extensions.conversations.api import StoredMessage
from kernel.api import Conversation, Delta, Extension

from .blocks import Blocks, Frame
from .markdown import Markdown, plain
from .thoughts import Place, Thought, parts

log = logging.getLogger(__name__)

PAUSE = 1 / 30
"""Seconds between two frames, at least."""
SHARE = 4
"""Times what a frame took is left to others before the next one."""
LONGEST = 0.25
"""Seconds between two drawings, at most: the first colouring of code is slow only once."""
LARGE = 4_000
"""Characters; an open block as large as that is read in a thread."""


def coloured(delta: Delta) -> str:
    """A delta's text as HTML, with its marks; what overlaps or lies outside is left out."""
    text, html, at = delta.text, "", 0
    for mark in sorted(delta.marks, key=lambda mark: mark.start):
        if not at <= mark.start < mark.end <= len(text):
            continue
        css_class = re.sub(r"[^A-Za-z0-9_ -]", "", mark.css_class)
        words = escape(text[mark.start : mark.end], quote=False)
        html += escape(text[at : mark.start], quote=False)
        html += f'<span class="{css_class}" title="{escape(mark.title)}">{words}</span>'
        at = mark.end
    return html + escape(text[at:], quote=False)


class Drawing:
    """Takes the deltas of a reply that goes on after the words of `message`, often none."""

    def __init__(
        self,
        ext: Extension[Any],
        message: StoredMessage,
        markdown: Markdown,
        places: Sequence[Place] = (),
    ) -> None:
        self._ext, self._to, self._id = ext, Conversation(message.conversation), message.id
        self._head = f'<div id="chat-m{message.id}'
        self._markdown = markdown
        self._parts: list[str | Thought] = []
        """What stands before the words that are written: answers as HTML, and thoughts."""
        self._tail = self._given(message, places)
        self._before = len(self._parts)
        self._blocks = self._begin(self._tail)
        last = self._parts[-1] if self._parts and not self._tail else ""
        self._thought = last if isinstance(last, Thought) else None
        """The thought that is written."""
        self._all = message.text
        self._said = [message.text]
        """The pieces of all words, for the case that they cannot be drawn as markdown."""
        self._coloured = [escape(message.text, quote=False)]
        """The same with the marks of modifiers, as HTML."""
        self._failed = self._marked = self._plainly = False
        self._new: list[str | Thought] = []
        """What of the parts the pages do not have."""
        self._anew = self._cleared = False
        self._page: tuple[int, int, str, str] = 0, 0, "", ""
        """What the pages have: parts, pieces of the last one, finished blocks, the open block."""
        self._draft()
        self._show()
        self._news, self._over = asyncio.Event(), False
        self._deltas: list[Delta] = []

    @property
    def closed(self) -> str:
        """What is finished, and the thoughts, as the pages have it: HTML."""
        count, pieces, closed, _ = self._page
        return self._html_of(self._parts[:count], pieces) + closed

    @property
    def open(self) -> str:
        """The open block as the pages have it: HTML."""
        return self._page[3]

    def hear(self, delta: Delta) -> None:
        if not delta.choice:
            self._deltas.append(delta)
            self._news.set()

    def end(self) -> None:
        self._over = True
        self._news.set()

    async def draw(self, drawn: Callable[[], None]) -> None:
        """Bring what was heard to the pages until the end; `drawn` is called after each frame."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._over:
                return
            begun = time.perf_counter()
            html, only_open = await self._frame()
            if html:
                key = f"open {self._head}" if only_open else None
                self._ext.push_html(html, self._to, key)
            if not self._over:
                drawn()
            await asyncio.sleep(max(PAUSE, min(LONGEST, SHARE * (time.perf_counter() - begun))))

    async def finish(self) -> str:
        """The whole reply as HTML."""
        await self._take(self._deltas)
        if self._thought:
            self._thought.end()
        if self._failed or self._marked:
            return self._html_of(self._thoughts(self._parts)) + self._plain()
        return self._html_of(self._parts) + await self._finished()

    # --- what was heard ----------------------------------------------------------------

    def _given(self, message: StoredMessage, places: Sequence[Place]) -> str:
        """Take in what it goes on with; the words of the answer after the last thought."""
        tail, number = "", 0
        for words, place in parts(message, places):
            if tail:
                self._parts.append(self._markdown.render(tail))
            number += bool(place)
            if place:
                thought = Thought(self._ext, self._id, number, words, place.seconds)
                self._parts.append(thought)
            tail = "" if place else words
        return tail

    def _begin(self, text: str) -> Blocks:
        blocks = Blocks(self._markdown, f"chat-m{self._id}-code")
        blocks.add(text)
        return blocks

    async def _take(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            if delta.channel == "reasoning":
                await self._think(delta)
            elif delta.channel == "text":
                self._answer(delta)

    def _answer(self, delta: Delta) -> None:
        self._marked = self._marked or bool(delta.marks)
        if self._thought and delta.text:
            self._thought.end()
            self._thought = None
        if delta.replace:
            self._coloured = [escape(self._all, quote=False)]
            self._said = [self._all, delta.text]
            if len(self._parts) > self._before:  # Nobody knows what of it stood between thoughts.
                self._again(self._thoughts(self._parts), delta.text)
            else:
                self._blocks.replace(self._tail + delta.text)
        else:
            self._said.append(delta.text)
            self._blocks.add(delta.text)
        self._coloured.append(coloured(delta))

    async def _think(self, delta: Delta) -> None:
        if delta.replace:
            self._thought = None
            self._again([], "".join(self._said[1:]))
        if not delta.text:
            return
        if not self._thought:
            await self._end_answer()
            number = sum(isinstance(part, Thought) for part in self._parts) + 1
            self._thought = Thought(self._ext, self._id, number)
            self._parts.append(self._thought)
            self._new.append(self._thought)
        self._thought.seconds = None
        self._thought.words.append(delta.text)

    def _again(self, thoughts: Sequence[str | Thought], text: str) -> None:
        """The pages get everything anew: these thoughts, then the answer."""
        known = self._parts[: self._before]
        self._parts = [*known, *(thought for thought in thoughts if thought not in known)]
        self._blocks, self._anew = self._begin(self._tail + text), True

    async def _end_answer(self) -> None:
        """What is written now stands before a thought."""
        if self._marked or self._failed or not self._blocks.size + len(self._blocks.text):
            return
        closed = self._blocks.closed
        html = await self._finished()
        self._anew = self._anew or not html.startswith(closed)
        self._parts.append(html)
        self._new.append(html[len(closed) :])
        self._blocks, self._cleared = self._begin(""), True

    async def _finished(self) -> str:
        if self._blocks.size < LARGE:
            return self._blocks.finish()
        return await self._ext.thread(self._blocks.finish)

    # --- frames ------------------------------------------------------------------------

    async def _frame(self) -> tuple[str, bool]:
        """What changed on the pages as HTML, and whether that is the open block alone."""
        deltas, self._deltas = self._deltas, []
        await self._take(deltas)
        large = self._blocks.size >= LARGE
        frame = await self._ext.thread(self._draft) if large else self._draft()
        html = self._html(frame)
        self._show()
        return html, html.startswith(f'{self._head}-open"') and not frame.code

    def _draft(self) -> Frame:
        """What to change on the page; words that markdown fails at stay as they are."""
        try:
            if not (self._failed or self._marked):
                return self._blocks.frame()
        except Exception:
            log.exception("A reply could not be drawn")
            self._failed = True
        if not self._plainly:
            self._plainly = self._anew = True
            self._before = len(self._thoughts(self._parts[: self._before]))
            self._parts = self._thoughts(self._parts)
        return Frame(open=self._plain())

    def _plain(self) -> str:
        """All words as they are; marks count the characters of these, not of markdown's HTML."""
        if not self._marked:
            return plain("".join(self._said))
        return f'<p class="chat-marked">{"".join(self._coloured)}</p>'

    @property
    def _closed(self) -> str:
        return "" if self._plainly else self._blocks.closed

    @property
    def _open(self) -> str:
        return self._plain() if self._plainly else self._blocks.open

    @staticmethod
    def _thoughts(parts: Sequence[str | Thought]) -> "list[str | Thought]":
        return [part for part in parts if isinstance(part, Thought)]

    def _show(self) -> None:
        """Now the pages have the frame that was made last."""
        last = self._parts[-1] if self._parts else ""
        pieces = len(last.words) if isinstance(last, Thought) else 0
        for part in self._parts:
            if isinstance(part, Thought):
                part.sent = len(part.words)
        self._page = len(self._parts), pieces, self._closed, self._open
        self._new, self._anew, self._cleared = [], False, False

    def _html_of(self, parts: Sequence[str | Thought], pieces: int | None = None) -> str:
        """Parts as HTML; of the last one, if it is a thought, so many pieces."""
        html = ""
        for n, part in enumerate(parts, 1):
            count = pieces if n == len(parts) else None
            html += part.html(count) if isinstance(part, Thought) else part
        return html

    def _html(self, frame: Frame) -> str:
        html = ""
        if self._anew or frame.anew:
            closed = self._html_of(self._parts) + self._closed
            html = f'{self._head}-closed" hx-swap-oob="innerHTML">{closed}</div>'
            return html + f'{self._head}-open" hx-swap-oob="innerHTML">{self._open}</div>'
        for part in self._parts:
            if isinstance(part, Thought) and part not in self._new and part.sent:
                html += part.news()
        if closed := self._html_of(self._new) + frame.closed:
            html += f'{self._head}-closed" hx-swap-oob="beforeend">{closed}</div>'
        if frame.open is not None or self._cleared:
            html += f'{self._head}-open" hx-swap-oob="innerHTML">{frame.open or ""}</div>'
        if frame.code:
            swap = f'<span id="{self._blocks.code_id}" hx-swap-oob="beforeend">'
            html += f"{swap}{frame.code}</span>"
        return html
