"""Thoughts of a reply in the page: folded, live, each where it stands in the answer."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from extensions.chat.drawing import Drawing
from extensions.chat.markdown import Markdown
from extensions.chat.test_chat import Dom, Node, Tab, kept, slowly, until
from extensions.chat.thoughts import Place, Places, parts, took
from extensions.conversations.api import StoredMessage
from kernel.api import OUTPUT, Delta, Mark, Phase, whole_text
from kernel.testing import App, Scripted, running

SCRIPT = "<think>\nHm <b>, so.\n</think>\n\nOne **two**.\n\n<think>Wait.</think>\n\nThree."
SHOWN = [
    ("thought", "Hm <b>, so."), ("answer", "Onetwo."), ("thought", "Wait."), ("answer", "Three."),
]  # fmt: skip


@pytest.fixture
def model() -> Scripted:
    return Scripted(SCRIPT)


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("conversations", "chat", "reasoning", model=model) as app:
        yield app


@pytest.fixture
async def tab(app: App) -> Tab:
    return await Tab(app).connect()


def shown(dom: Dom, id: str) -> list[tuple[str, str]]:
    """The thoughts and answers of a message in their order, the latter without their space."""
    found: list[tuple[str, str]] = []

    def read(node: Node) -> None:
        for child in node.children:
            if isinstance(child, str):
                if child.strip():
                    found.append(("answer", "".join(child.split())))
            elif "chat-thought" in child.attributes.get("class", ""):
                found.append(("thought", "".join(n.text for n in child.children[1:])))  # type: ignore[union-attr]
            else:
                read(child)

    for part in ("closed", "open"):
        if node := dom.get(f"chat-m{id}-{part}"):
            read(node)
    return joined(found)


def joined(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    whole: list[tuple[str, str]] = []
    for kind, words in found:
        if kind == "answer" and whole and whole[-1][0] == kind:
            whole[-1] = kind, whole[-1][1] + words
        else:
            whole.append((kind, words))
    return whole


def labels(dom: Dom) -> list[str]:
    return [
        n.text
        for n in dom.root.all()
        if n.tag == "summary" and "-took-" in n.attributes.get("id", "")
    ]


async def test_thoughts_are_folded_where_they_stand_and_are_no_part_of_the_answer(
    app: App, tab: Tab
):
    await tab.ask("Hello")
    [_, reply] = await kept(app, tab.conversation)
    assert (reply.text, reply.reasoning) == ("One **two**.\n\n\n\nThree.", "Hm <b>, so.Wait.")
    assert reply.raw == SCRIPT
    assert shown(tab.look(), reply.id) == SHOWN
    assert labels(tab.dom) == ["Thought for 1 s"] * 2
    box = tab.dom.get(f"chat-m{reply.id}-form")  # What is copied and edited.
    assert box
    assert "Hm" not in box.text
    again = await Tab(app, f"/chat/{tab.conversation}").connect()
    assert shown(again.look(), reply.id) == SHOWN
    await app.toggle("chat", on=False)  # A chat that begins anew knows it from the file.
    await app.toggle("chat", on=True)
    later = await Tab(app, f"/chat/{tab.conversation}").connect()
    assert shown(later.look(), reply.id) == SHOWN
    assert labels(later.dom) == ["Thought for 1 s"] * 2


async def test_a_thought_grows_while_it_is_read(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "<think>One two</think>\n\nDone. So.")
    await tab.send("Hello")
    [_, reply] = await kept(app, tab.conversation)
    gate.release()
    await until(lambda: shown(tab.look(), reply.id) == [("thought", "One")])
    assert labels(tab.dom) == ["Thinking…"]
    other = await Tab(app, f"/chat/{tab.conversation}").connect()  # A page that comes meanwhile.
    assert shown(other.look(), reply.id) == [("thought", "One")]
    [details] = tab.dom.having("chat-thought")
    for _ in range(2):
        gate.release()
    await until(lambda: labels(tab.look()) == ["Thought for 1 s"])
    for each in (tab, other):
        await until(lambda each=each: len(shown(each.look(), reply.id)) == 2)
        assert shown(each.dom, reply.id)[0] == ("thought", "One two")
    assert details in tab.dom.root.all()  # The same element: it stays open if it was opened.
    for _ in range(5):
        gate.release()
    await tab.idle()
    assert shown(tab.look(), reply.id) == [("thought", "One two"), ("answer", "Done.So.")]


async def test_a_thought_that_was_stopped_goes_on(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "<think>One two", " three.</think>Four.")
    await tab.send("Hello")
    gate.release()
    [_, reply] = await kept(app, tab.conversation)
    await until(lambda: shown(tab.look(), reply.id) == [("thought", "One")])
    await tab.act("stop", conversation=tab.conversation)
    await tab.idle()
    [_, reply] = await kept(app, tab.conversation)
    assert (reply.text, reply.reasoning, reply.raw) == ("", "One", "<think>One")
    await tab.act("continue_", message=reply.id)
    for _ in range(8):
        gate.release()
    await tab.idle()
    [_, reply] = await kept(app, tab.conversation)
    assert (reply.text, reply.reasoning) == ("Four.", "One three.")
    assert reply.raw == "<think>One three.</think>Four."
    assert shown(tab.look(), reply.id) == [("thought", "One three."), ("answer", "Four.")]


async def test_the_next_turn_is_told_the_answer_alone(app: App, tab: Tab, model: Scripted):
    await tab.ask("Hello")
    await tab.ask("And?")
    told = [message.text for message in model.asked[-1].messages or ()]
    assert told == ["Hello", "One **two**.\n\n\n\nThree.", "And?"]
    await tab.act("set_up", conversation=tab.conversation, preserve_thinking="on")
    await tab.ask("More?")
    assert [m.text for m in model.asked[-1].messages or ()][1] == SCRIPT


async def test_other_words_stand_below_the_thoughts(app: App, tab: Tab):
    async def louder(text: str) -> str:
        return text.upper()

    app.kernel.registry.add(
        OUTPUT, whole_text(louder), "kernel", phase=Phase.LATE, rank=0, rewrites=True
    )
    await tab.ask("Hello")
    [_, reply] = await kept(app, tab.conversation)
    thoughts = [("thought", "Hm <b>, so."), ("thought", "Wait.")]
    assert shown(tab.look(), reply.id)[:2] == thoughts
    later = await Tab(app, f"/chat/{tab.conversation}").connect()
    assert shown(later.look(), reply.id) == shown(tab.dom, reply.id)


def test_where_thoughts_stand():
    places = Places()
    for delta in [
        Delta("Hm", "reasoning"), Delta(".", "reasoning"), Delta("One"), Delta("", "reasoning"),
        Delta("So", "reasoning"), Delta("x", choice=1), Delta("Two"),
    ]:  # fmt: skip
        places.hear(delta)
    assert [(p.at, p.length) for p in places.all()] == [(0, 3), (3, 2)]
    places.hear(Delta("Other", replace=True))
    assert [(p.at, p.length) for p in places.all()] == [(0, 3), (0, 2)]
    more = Places("Other", places.all())
    more.hear(Delta("!", "reasoning"))
    more.hear(Delta("!"))
    assert [(p.at, p.length) for p in more.all()] == [(0, 3), (0, 2), (5, 1)]
    broken = Places("", [Place(0, 3, 2.0)])
    broken.hear(Delta("on", "reasoning"))
    [place] = broken.all()
    assert (place.at, place.length) == (0, 5)
    assert place.seconds >= 2


def test_how_long_it_took():
    assert took(None) == "Thinking…"
    assert took(0) == "Thoughts"
    assert (took(0.2), took(59.4), took(61)) == (
        "Thought for 1 s", "Thought for 59 s", "Thought for 1 min 1 s",
    )  # fmt: skip


def test_places_that_do_not_fit_lose_no_word():
    message = StoredMessage("m", "c", "assistant", text="Answer", reasoning="abc")
    assert [*parts(message, [Place(99, 3), Place(2, 0)])] == [
        ("Answer", None), ("abc", Place(99, 3)), ("", Place(2, 0)),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
async def test_frames_amount_to_the_whole_at_every_moment(app: App, seed: int):
    """Deltas of any kind, in frames of any size; a page that comes at any moment has the same."""
    dice, ext = random.Random(seed), app.extension("chat")
    markdown = Markdown(lambda language, html: f"<pre><code>{html}</code></pre>")
    given = ("Begun *so*", "Old") if seed % 2 else ("", "")
    message = StoredMessage("m", "c", "assistant", text=given[0], reasoning=given[1])
    before = [Place(dice.choice((0, 5, 10)), 3, 1.0)] if given[1] else []
    drawing, places = Drawing(ext, message, markdown, before), Places(given[0], before)
    dom = Dom()
    dom.root.children = [Node("div", {"id": "chat-mm-closed"}), Node("div", {"id": "chat-mm-open"})]

    def anew() -> Dom:
        dom = Dom()
        dom.feed_page(drawing.closed, drawing.open)
        return dom

    dom.feed_page(drawing.closed, drawing.open)
    words = ["One ", "**two**", "\n\n", "- a\n", "```\ncode\n", "```\n", "<b>", "&amp;", " x"]
    text, thought = "", ""
    for _ in range(60):
        for _ in range(dice.randrange(4)):
            kind = dice.random()
            delta = Delta(dice.choice(words), "reasoning" if kind < 0.4 else "text")
            if kind > 0.97:
                delta = Delta("Other\n\nwords", replace=True)
            elif kind > 0.96 and seed > 8:
                delta = Delta("marked", marks=(Mark(0, 3, "x"),))
            text = delta.onto(text) if delta.channel == "text" else text
            thought += delta.text if delta.channel == "reasoning" else ""
            places.hear(delta)
            drawing.hear(delta)
        html, _ = await drawing._frame()
        dom.take(html)
        assert shown(dom, "m") == shown(anew(), "m")
        assert "".join(w for k, w in shown(dom, "m") if k == "thought") == given[1] + thought
    drawing.hear(Delta("."))
    text += "."
    end = Dom()
    end.feed_page(await drawing.finish(), "")
    if not drawing._marked:
        whole = structs.replace(message, text=given[0] + text, reasoning=given[1] + thought)
        told = [(w if p else "answer", bool(p)) for w, p in parts(whole, places.all())]
        assert [w for w, p in told if p] == [w for k, w in shown(end, "m") if k == "thought"]
    await asyncio.sleep(0)
