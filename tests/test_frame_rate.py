"""A page gets what comes first at once, and no more than thirty frames a second of what follows."""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.chat.drawing import Drawing
from extensions.chat.markdown import Markdown
from extensions.conversations.api import StoredMessage
from kernel.api import Delta
from kernel.clients import Client

RATE = 30
AT_ONCE = 4
"""Frames that may come together after a quiet moment: a click is answered by several."""
SLACK = 1e-6
MARKDOWN = Markdown(lambda language, html: f"<pre><code>{html}</code></pre>")
BEGUN = 0.7
"""Seconds after which a reply's first word comes."""


class Jumping(selectors.DefaultSelector):
    """Waits for no time: its clock has gone on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        assert found or timeout is not None, "all wait for nothing"
        self.now += 0 if found or not timeout else timeout
        return found


class Ticking(asyncio.SelectorEventLoop):
    """Its time goes on only while all wait for it: however busy a machine is, it is the same."""

    def __init__(self) -> None:
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


@pytest.fixture
def told(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    """Runs a story by such a clock; drawing takes no time of it."""
    still = SimpleNamespace(perf_counter=lambda: 0.0)
    monkeypatch.setitem(Drawing.draw.__globals__, "time", still)

    def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = Ticking()
        try:
            loop.run_until_complete(story())
        finally:
            loop.close()

    return run


class Sent:
    """A page's frames: when each went, and what was in it."""

    def __init__(self) -> None:
        self.client = Client("1", "page", "/chat/c")
        self.times, self.texts = list[float](), list[str]()

    async def send(self, texts: list[bytes]) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.texts.append(b"".join(texts).decode())

    def few(self) -> None:
        """None went too early, but for those at first."""
        for number, time in enumerate(self.times, 1):
            assert time >= self.times[0] + (number - AT_ONCE) / RATE - SLACK


@asynccontextmanager
async def open_page() -> AsyncIterator[Sent]:
    sent = Sent()
    task = asyncio.create_task(sent.client.outbox.send(sent.send, lambda: None))
    try:
        yield sent
    finally:
        task.cancel()
        await asyncio.wait({task})


def test_a_page_of_a_second_is_sent_thirty_frames(told: Any):
    async def story() -> None:
        async with open_page() as page:
            for start in (2.0, 5.0):  # after a quiet moment it is the same again
                page.times.clear()
                await asyncio.sleep(start - asyncio.get_running_loop().time())
                for number in range(1000):
                    page.client.outbox.put("x", str(number), "open")
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.1)
                assert page.times[0] == pytest.approx(start), "at once"
                page.few()
                assert RATE <= len(page.times) <= RATE + AT_ONCE + 1
                assert page.texts[-1] == "999", "and the last of it comes"

    told(story)


@pytest.mark.parametrize("pause", [0.0001, 0.001, 0.2])
def test_a_reply_is_drawn_thirty_times_a_second_and_its_first_word_at_once(told: Any, pause: float):
    words = 600 if pause < 0.1 else 20

    async def story() -> None:
        loop, drawn = asyncio.get_running_loop(), list[float]()
        async with open_page() as page:

            def push_html(html: str, to: Any, key: str | None) -> None:
                drawn.append(loop.time())
                page.client.outbox.put("chat", html, key)

            ext: Any = SimpleNamespace(push_html=push_html)
            drawing = Drawing(ext, StoredMessage("m", "c", "assistant"), MARKDOWN)
            task = asyncio.create_task(drawing.draw(lambda: None))
            await asyncio.sleep(BEGUN)
            for number in range(words):
                drawing.hear(Delta(f"word{number} " + "\n\n" * (number % 40 == 39)))
                await asyncio.sleep(pause)
            took = loop.time() - BEGUN
            await asyncio.sleep(0.1)
            drawing.end()
            await task
        assert page.times[0] == pytest.approx(BEGUN), "no pause before the first word"
        assert "word0" in page.texts[0]
        page.few()
        assert len(drawn) <= RATE * took + 2
        assert len(page.times) >= min(RATE * took - 1, words), "nor any other needless one"
        assert f"word{words - 1}" in page.texts[-1]

    told(story)
