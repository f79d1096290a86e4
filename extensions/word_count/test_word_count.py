"""The figures are those of the conversation, before, while and after a reply is written."""

import asyncio
import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from extensions.word_count.counting import Growing, words
from kernel.api import Delta
from kernel.testing import Scripted, running


def test_what_is_a_word():
    assert words("It's 3.14, a well-known one: *yes*!") == 6
    assert words("  \n") == 0


@given(st.text(alphabet="ab '.-\n*"), st.lists(st.integers(0, 40)))
def test_a_growing_text_counts_as_if_it_were_whole(text: str, cuts: list[int]):
    growing = Growing(0, 0)
    places = [0, *sorted(cuts), max(40, len(text))]
    for start, end in pairwise(places):
        growing.hear(Delta(text[start:end]))
    assert growing.figures == {"words": words(text), "tokens": len(places) - 1}


def test_what_is_replaced_no_longer_counts():
    growing = Growing(10, 100)
    growing.hear(Delta("one two three"))
    growing.hear(Delta("four", replace=True))
    growing.hear(Delta("Hm. Hm.", channel="reasoning"))
    assert growing.figures == {"words": 11, "tokens": 103}


async def test_it_counts_while_a_reply_is_written_and_settles():
    gate = asyncio.Semaphore(0)
    async with running("word_count", "chat", model=Scripted("one two three", gate=gate)) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Say three words.")
        gate.release()
        await page.until("word_count-figures[^>]*>4 words")
        for _ in range(9):
            gate.release()
        await page.until('word_count-figures[^>]*>6 words<span class="wide"> · 13 tokens')
        again = await app.open(page.client.path)
        await again.until('6 words<span class="wide"> · 13 tokens')
        assert 'word_count-figures"></span>' in (await app.open("/chat")).html
        there, page.html = page.client.subject, ""  # The page is sent elsewhere, and back.
        await page.act("chat.delete", conversation=there)
        await page.until('word_count-figures"></span>')
        page.html = ""
        await page.act("chat.undelete", conversation=there)
        await page.until('6 words<span class="wide"> · 13 tokens')


async def test_a_program_that_asks_shows_nothing():
    async with running("word_count", model=Scripted("one two")) as app:
        page = app.page()
        assert await app.say() == "one two"
        assert not re.search(r"word_count-figures[^>]*>\d", page.html)
