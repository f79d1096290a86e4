"""Every token has its colour and its figures, and a model that tells none says so."""

import math

import pytest

from extensions.token_probabilities.marking import marked, percent
from kernel.api import Delta, Mark, Token
from kernel.testing import Scripted, running

LIKELY = (math.log(0.95), math.log(0.5), math.log(0.05))


def token(data: bytes, share: float | None, *others: tuple[bytes, float]) -> Token:
    logprob = None if share is None else math.log(share)
    return Token(1, data, logprob, tuple((text, math.log(p)) for text, p in others))


def test_tokens_are_found_in_the_text_though_some_of_it_was_held_back():
    tokens = (token(b"He", 0.95), token(b"llo", 0.5), token(b"</s>", 0.9), token(b"!", 0.02))
    marks = marked(Delta("Hello!", tokens=tokens)).marks
    assert [(m.start, m.end, m.css_class[-1]) for m in marks] == [
        (0, 2, "1"),
        (2, 5, "3"),
        (5, 6, "5"),
    ]


def test_a_character_of_several_tokens_is_one_mark():
    first, second = "é".encode()[:1], "é".encode()[1:]
    marks = marked(
        Delta("né", tokens=(token(b"n", 1), token(first, 0.9), token(second, 0.2)))
    ).marks
    assert [(m.start, m.end, m.css_class[-1]) for m in marks] == [(0, 1, "1"), (1, 2, "4")]


def test_the_title_names_what_else_was_likely():
    delta = Delta("a", tokens=(token(b"a", 0.7, (b"a", 0.7), (b"\n", 0.2), (b"<b>", 0.004)),))
    assert marked(delta).marks[0].title == "70 %. Else: “⏎” 20 %, “<b>” 0.4 %"


def test_marks_of_others_stay_and_a_token_without_a_figure_has_none():
    mark = Mark(0, 1, "other")
    assert marked(Delta("a", marks=(mark,), tokens=(token(b"a", None),))).marks == (mark,)


@pytest.mark.parametrize(("share", "words"), [(1, "100 %"), (0.013, "1 %"), (0.00012, "0.01 %")])
def test_percent(share: float, words: str):
    assert percent(math.log(share)) == words


async def test_a_reply_is_coloured_and_what_is_stored_is_not():
    model = Scripted("Sure maybe never.", capabilities=("text", "logprobs"), logprobs=LIKELY)
    async with running("token_probabilities", "chat", model=model) as app:
        page = await app.open("/chat")
        await page.until('legend[^>]*><span class="wide">sure</span>')
        await page.act("chat.send", conversation="", text="?")
        await page.until('-1" title="95 %">Sure</span><span class="token_probabilities-3"')
        await page.until('class="token_probabilities-5" title="5 %"> never.</span>')
        await page.until('data-busy="true".*data-busy="false"')
        assert model.asked[0].logprobs == 3
        await app.toggle("token_probabilities", on=False)
        page = await app.open(page.client.path)
        assert "Sure maybe never." in page.html


async def test_a_model_that_cannot_tell_says_so_once_and_has_no_legend():
    model = Scripted("Sure.")
    async with running("token_probabilities", "chat", model=model) as app:
        page = await app.open("/chat")
        for _ in range(2):
            assert await app.say() == "Sure."
        assert page.html.count("scripted in scripted does not tell how likely") == 1
        assert model.asked[0].logprobs is None
        assert 'class="wide">sure</span>' not in page.html


async def test_what_a_program_asked_for_is_kept():
    model = Scripted("Sure.", capabilities=("text", "logprobs"))
    settings = {"token_probabilities": {"alternatives": 0}}
    async with running("token_probabilities", model=model, settings=settings) as app:
        await app.say()
        assert model.asked[0].logprobs == 0
