"""Thoughts told apart from answers, however they are written and wherever the pieces end."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from extensions.engine_kit.api import PAIRS, begun
from extensions.reasoning.history import remembered
from extensions.reasoning.splitting import Piece, Splitter, split
from extensions.reasoning.streaming import apart
from extensions.reasoning.tags import THINKS, UNOPENED
from kernel.api import Delta, Mark, Message, Past, Reasoning, Text, Token, Turn
from kernel.testing import Scripted, running

T, R = "text", "reasoning"
START = "<|start|>assistant"
CALL = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
FORMS = {
    "think": ("<think>\nHm.\n\nYes.\n</think>\n\nAnswer.", [(R, "Hm.\n\nYes."), (T, "Answer.")]),
    "space before": (" \n<think>Hm.</think> Answer.", [(R, "Hm."), (T, "Answer.")]),
    "seed": ("<seed:think>Hm.</seed:think>Answer.", [(R, "Hm."), (T, "Answer.")]),
    "magistral": ("[THINK]Hm.[/THINK]Answer.", [(R, "Hm."), (T, "Answer.")]),
    "bars": ("<|think|>Hm.<|end|>\nAnswer.", [(R, "Hm."), (T, "Answer.")]),
    "gemma": ("<|channel>thought\nHm.\n<channel|>Answer.", [(R, "Hm."), (T, "Answer.")]),
    "gpt-oss": (
        "<|channel|>analysis<|message|>Hm.<|end|>"
        f"{START}<|channel|>commentary<|message|>So.<|end|>"
        f"{START}<|channel|>final<|message|>Answer.<|return|>",
        [(R, "Hm."), (R, "So."), (T, "Answer.")],
    ),
    "gpt-oss answers at once": ("<|channel|>final<|message|>Answer.", [(T, "Answer.")]),
    "gpt-oss thinks after code": (
        "<|channel|>final<|message|>```\nx = 1\n<|end|>"
        f"{START}<|channel|>analysis<|message|>Hm.<|end|>"
        f"{START}<|channel|>final<|message|>More.",
        [(T, "```\nx = 1\n"), (R, "Hm."), (T, "More.")],
    ),
    "gpt-oss calls": (f"<|channel|>analysis<|message|>Hm.<|end|>{CALL}", [(R, "Hm."), (T, CALL)]),
    "only its end": ("Hm.\nYes.\n</think>\n\nAnswer.", [(R, "Hm.\nYes."), (T, "Answer.")]),
    "interleaved": (
        "<think>A</think>B\n<think>C</think>\nD<think>E</think>F",
        [(R, "A"), (T, "B\n"), (R, "C"), (T, "\nD"), (R, "E"), (T, "F")],
    ),
    "unfinished": ("<think>Hm, and <then", [(R, "Hm, and <then")]),
    "empty": ("<think>\n\n</think>\n\nAnswer.", [(T, "Answer.")]),
    "no answer": ("<think>Hm.</think>\n", [(R, "Hm.")]),
    "a second end": ("<think>Hm.</think>A </think> B", [(R, "Hm."), (T, "A </think> B")]),
    "code in a thought": ("<think>`x` ```\n</think>A", [(R, "`x` ```"), (T, "A")]),
}  # fmt: skip
PLAIN = {
    "half a tag": "a <think b <thin",
    "in backticks": "Write `<think>` and ``</think>``, then go on.",
    "in a block": "So:\n```xml\n<think>\nx\n</think>\n```\nThat is all.",
    "in a block of tildes": "~~~\n<think>\n```\n</think>\n~~~\n",
    "in a list": "1. a\n   ```\n   <|channel|>analysis<|message|>\n   ```",
    "in an open block": "```\n<think>\nx</think>",
    "space": "  \n a <b> c\n ",
    "nothing but space": " \n",
    "others": "<|im_end|> <|end|> <|return|> <thinking> [THINKING] <|start|>assistant ~~x~~ ```",
}


def merged(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """The pieces as a page has them in the end."""
    found: list[tuple[str, str]] = []
    parted = True
    for kind, words in pieces:
        if kind == "unopened":
            found = [(R, "".join(said for _, said in found).strip())]
        elif not kind:
            parted = parted or bool(words.strip())
            continue
        elif found and found[-1][0] == kind and not parted:
            found[-1] = kind, found[-1][1] + words
        else:
            found.append((kind, words))
        parted = False
    return found


def heard(pieces: Sequence[str], begun: str = "") -> list[Piece]:
    splitter = Splitter(begun)
    return [*(p for words in pieces for p in splitter.feed(words)), *splitter.end()]


def cuts(text: str) -> Iterator[list[str]]:
    """At every place once, and letter by letter."""
    for at in range(len(text) + 1):
        yield [text[:at], text[at:]]
    yield [*text]
    yield [text]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_wherever_its_pieces_end(form: str):
    text, expected = FORMS[form]
    for pieces in cuts(text):
        said = heard(pieces)
        assert merged(said) == expected, pieces
        assert "".join(piece.words for piece in said) == text  # Nothing is lost, all in order.
    assert [(k, w) for k, w in split(text)] == expected


@pytest.mark.parametrize("form", PLAIN)
def test_what_only_speaks_of_tags_is_text(form: str):
    text = PLAIN[form]
    for pieces in cuts(text):
        assert merged(heard(pieces)) == [(T, text)], pieces
    assert split(text) == [Piece("text", text)]


def test_a_thought_is_given_on_at_once():
    splitter = Splitter()
    assert splitter.feed("<think>Let") == [("", "<think>"), (R, "Let")]
    assert splitter.feed(" me") == [(R, " me")]
    assert splitter.feed("</thin") == []
    assert splitter.feed("k>Good") == [("", "</think>"), (T, "Good")]
    assert splitter.feed(" day") == [(T, " day")]


@pytest.mark.parametrize("at", range(len("<think>Hm, yes.</think>Answer.") + 1))
def test_it_goes_on_from_anywhere(at: int):
    text = "<think>Hm, yes.</think>Answer."
    said = {T: "", R: ""}
    for kind, words in (*split(text[:at]), *heard([text[at:]], text[:at])):
        if kind in said:
            said[kind] += words
    if at == 0 or 7 <= at <= 15 or at >= 23:  # Not within a tag.
        assert said == {R: "Hm, yes.", T: "Answer."}


def test_what_a_prompt_has_begun():
    assert begun("<|im_start|>assistant\n<think>\n") == "<think>\n"
    assert begun("<|im_start|>assistant\n<think>\n\n</think>\n\n") == ""
    assert begun("x [THINK]") == "[THINK]"
    assert begun("<|im_start|>assistant\n") == begun("") == ""
    assert {*PAIRS} < {*THINKS}
    assert {*PAIRS.values()} > UNOPENED


# --- deltas -----------------------------------------------------------------------------


async def told(deltas: Sequence[Delta], turn: Turn) -> list[Delta]:
    async def source() -> AsyncIterator[Delta]:
        for delta in deltas:
            yield delta

    return [delta async for delta in apart(source(), turn)]


PAGE = Turn(client="c")


async def test_what_holds_no_thought_passes_as_it_is():
    deltas = [
        Delta("Hello", tokens=(Token(1, b"Hello"),), marks=(Mark(0, 2, "x"),)),
        Delta("Hm", "reasoning"), Delta("x", "tool"), Delta(" there", choice=1), Delta("!"),
    ]  # fmt: skip
    out = await told(deltas, PAGE)
    assert [d for d in out if d.text != " there"] == [d for d in deltas if d.text != " there"]
    assert out[0] is deltas[0]


async def test_tokens_stay_with_their_words():
    tokens = tuple(Token(n, word.encode()) for n, word in enumerate(("<think>", "Hm", "</think>")))
    deltas = [Delta("<think>Hm</think>", tokens=tokens), Delta("Yes", tokens=(Token(9, b"Yes"),))]
    out = await told(deltas, PAGE)
    assert [(d.channel, d.text, [t.bytes for t in d.tokens]) for d in out] == [
        (R, "Hm", [b"Hm"]), (T, "Yes", [b"Yes"]),
    ]  # fmt: skip


async def test_each_choice_has_its_own_thoughts():
    out = await told([Delta("<think>A", choice=1), Delta("B"), Delta("</think>C", choice=1)], PAGE)
    assert [(d.choice, d.channel, d.text) for d in out] == [(1, R, "A"), (0, T, "B"), (1, T, "C")]


async def test_an_unopened_thought_leaves_the_text_of_a_page_only():
    deltas = [Delta("Hm. "), Delta("So.</think>\nYes")]
    assert await told(deltas, PAGE) == [
        Delta("Hm. "), Delta("So."), Delta("", replace=True), Delta("Hm. So.", "reasoning"),
        Delta("Yes"),
    ]  # fmt: skip
    said = "".join(d.text for d in await told(deltas, Turn()) if d.channel == "text")
    assert said == "Hm. So.</think>Yes"


async def test_what_replaces_all_is_told_apart_anew():
    deltas = [Delta("<think>A</think>B"), Delta("<think>C</think>D", replace=True)]
    said = {T: "", R: ""}
    for delta in await told(deltas, PAGE):
        said[delta.channel] = delta.onto(said[delta.channel])
    assert said == {T: "D", R: "C"}


# --- in a server ------------------------------------------------------------------------


async def test_a_program_gets_thoughts_in_their_channel_and_the_engines_words_stay():
    async with running("reasoning", "instruct", model=Scripted("<think>Hm</think>Yes")) as app:
        reply = app.run(Turn((Message("user", (Text("?"),)),)))
        said = [(d.channel, d.text) async for d in reply if d.text]
        assert said == [(R, "Hm"), (T, "Yes")]
        assert (reply.text, reply.reasoning, reply.raw) == ("Yes", "Hm", "<think>Hm</think>Yes")
        assert not reply.rewritten  # A program need not wait for the end.
        assert app.run(Turn(client="c")).rewritten


async def test_a_thought_that_was_broken_off_goes_on_as_one():
    history = [
        Message("user", (Text("?"),)), Message("assistant", (Text("<think>I was"),)),
    ]  # fmt: skip
    async with running("reasoning", "instruct", model=Scripted(" here.</think>Yes")) as app:
        reply = app.run(Turn(continue_=True), history)
        said = [(d.channel, d.text) async for d in reply if d.text]
        assert said == [(R, " here."), (T, "Yes")]
        assert reply.request
        assert [m.text for m in reply.request.messages or ()] == ["?", "<think>I was"]


def past(*texts: str, **turn: object) -> Past:
    messages = tuple(
        Message("assistant" if n % 2 else "user", (Text(text),)) for n, text in enumerate(texts)
    )
    return Past(messages, Turn(**turn))  # type: ignore[arg-type]


def test_a_model_does_not_see_its_old_thoughts_unless_wanted():
    before = past("<think>mine</think>", "<think>Hm</think>\nYes", "ok", "Plain")
    after = remembered(before, False, "")
    assert after.messages[1].parts == (Text("Yes"),)
    assert [after.messages[n] for n in (0, 2, 3)] == [before.messages[n] for n in (0, 2, 3)]
    assert remembered(before, True, "") is before  # The template knows no thoughts: as written.
    kept = remembered(before, True, "{{ m.reasoning_content }}")
    assert kept.messages[1].parts == (Reasoning("Hm"), Text("Yes"))
    chosen = past("a", "<think>Hm</think>Yes", options={"preserve_thinking": False})
    assert remembered(chosen, True, "").messages[1].parts == (Text("Yes"),)
    plain = past("a", "b")
    assert remembered(plain, False, "") is plain


def test_it_costs_little():
    """Under 3 µs a delta of plain words, and no more for a long reply than for a short one."""
    words = ["Some", " plain", " words", ", and", " more\n"] * 2000
    best = 1e9
    for _ in range(3):
        splitter = Splitter()
        begun = time.perf_counter()
        for word in words:
            splitter.feed(word)
        best = min(best, time.perf_counter() - begun)
    assert best / len(words) < 30e-6  # Ten times what it takes, for a busy machine.
