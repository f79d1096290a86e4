"""One reply on the pages as it is written: at most 30 frames a second, its first word at once."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from html import escape
from typing import Any

from extensions.conversations.api import StoredMessage
from kernel.api import Conversation, Delta, Extension

from .blocks import Blocks, Frame
from .markdown import Markdown, plain

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

    def __init__(self, ext: Extension[Any], message: StoredMessage, markdown: Markdown) -> None:
        self._ext, self._to = ext, Conversation(message.conversation)
        self._head = f'<div id="chat-m{message.id}'
        self._before = message.text
        self._blocks = Blocks(markdown, f"chat-m{message.id}-code")
        self._said = [message.text]
        """The pieces of all words, for the case that they cannot be drawn as markdown."""
        self._coloured = [escape(message.text, quote=False)]
        """The same with the marks of modifiers, as HTML."""
        self._failed = self._marked = False
        self.closed = self.open = self.thought = ""
        """The finished blocks, the open block and the reasoning as the pages have them: HTML."""
        self._blocks.add(message.text)
        self._draft()
        self._show()
        self._news, self._over = asyncio.Event(), False
        self._deltas: list[Delta] = []

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
            thought, frame = self._think(self._deltas), await self._frame()
            self._show()
            html = self._html(frame) + thought
            only_open = not (frame.closed or frame.code or frame.anew)
            if html:
                key = f"open {self._head}" if only_open and not thought else None
                self._ext.push_html(html, self._to, key)
            if not self._over:
                drawn()
            await asyncio.sleep(max(PAUSE, min(LONGEST, SHARE * (time.perf_counter() - begun))))

    async def finish(self) -> str:
        """The whole reply as HTML."""
        self._take(self._deltas)
        if self._failed or self._marked:
            return self._plain()
        if self._blocks.size < LARGE:
            return self._blocks.finish()
        return await self._ext.thread(self._blocks.finish)

    # --- inside ------------------------------------------------------------------------

    async def _frame(self) -> Frame:
        deltas, self._deltas = self._deltas, []
        self._take(deltas)
        if self._blocks.size < LARGE:
            return self._draft()
        return await self._ext.thread(self._draft)

    def _draft(self) -> Frame:
        """What to change on the page; words that markdown fails at stay as they are."""
        try:
            if not (self._failed or self._marked):
                return self._blocks.frame()
        except Exception:
            log.exception("A reply could not be drawn")
            self._failed = True
        return Frame(open=self._plain(), anew=True)

    def _plain(self) -> str:
        """All words as they are; marks count the characters of these, not of markdown's HTML."""
        if not self._marked:
            return plain("".join(self._said))
        return f'<p class="chat-marked">{"".join(self._coloured)}</p>'

    def _show(self) -> None:
        """Now the pages have the frame that was made last."""
        if self._failed or self._marked:
            self.closed, self.open = "", self._plain()
        else:
            self.closed, self.open = self._blocks.closed, self._blocks.open

    def _take(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            if delta.channel != "text":
                continue
            self._marked = self._marked or bool(delta.marks)
            if delta.replace:
                self._coloured = [escape(self._before, quote=False)]
            self._coloured.append(coloured(delta))
            if delta.replace:
                self._said = [self._before, delta.text]
                self._blocks.replace(self._before + delta.text)
            else:
                self._said.append(delta.text)
                self._blocks.add(delta.text)

    def _think(self, deltas: list[Delta]) -> str:
        """Reasoning, shown as it is."""
        heard = [delta for delta in deltas if delta.channel == "reasoning"]
        if not heard:
            return ""
        for delta in heard:
            self.thought = "" if delta.replace else self.thought
            self.thought += escape(delta.text, quote=False)
        return f'{self._head}-thought" hx-swap-oob="innerHTML">{self.thought}</div>'

    def _html(self, frame: Frame) -> str:
        html = ""
        if frame.closed or frame.anew:
            swap = "innerHTML" if frame.anew else "beforeend"
            html += f'{self._head}-closed" hx-swap-oob="{swap}">{frame.closed}</div>'
        if frame.open is not None:
            html += f'{self._head}-open" hx-swap-oob="innerHTML">{frame.open}</div>'
        if frame.code:
            swap = f'<span id="{self._blocks.code_id}" hx-swap-oob="beforeend">'
            html += f"{swap}{frame.code}</span>"
        return html
