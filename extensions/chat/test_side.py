"""What a reply costs beside its words: one row of the list, and a prompt that begins as before."""

import asyncio
from itertools import pairwise

from extensions.chat.side import Group, Shown
from extensions.conversations.api import STORE
from kernel.testing import App, Scripted, running


async def test_a_reply_sends_its_own_row_and_not_the_list():
    async with running("conversations", "chat", model=Scripted("Hi.")) as app:
        page = app.page("/chat")
        await app.web.snapshot(page.client)
        subjects: list[str] = []
        for number in range(3):
            await page.act("chat.new")
            await page.act("chat.send", text=f"Question {number}")
            subjects.append(page.client.subject)
            page.html = ""
            await page.until(f'id="chat-row-{page.client.subject}"[^>]*>((?!busy).)*</li>')

        # One that stands below is answered: it goes to the top, and nothing else is sent.
        await app.web.snapshot(page.client)
        page.client.subject = subjects[0]
        page.client.outbox.take()
        page.html = ""
        await page.act("chat.send", text="Again", conversation=subjects[0])
        await page.until('id="chat-rows-1" hx-swap-oob="afterbegin".*Question 0')
        await page.until(f'id="chat-row-{subjects[0]}"[^>]*>((?!busy).)*</li>')
        assert f'<li id="chat-row-{subjects[0]}" hx-swap-oob="delete">' in page.html
        assert "chat-conversations" not in page.html
        assert "Question 1" not in page.html

        # Renamed, it is changed where it stands; deleted, it goes.
        page.html = ""
        await page.act("chat.rename", conversation=subjects[1], title="Another")
        await page.until(f'id="chat-row-{subjects[1]}"[^>]*hx-swap-oob="outerMorph".*Another')
        assert "Question 2" not in page.html
        page.html = ""
        await page.act("chat.delete", conversation=subjects[2])
        await page.until(f'id="chat-row-{subjects[2]}" hx-swap-oob="delete"')
        assert "Another" not in page.html


def shown(*groups: tuple[str, str]) -> Shown:
    rows = [
        Group(label, tuple({"id": id, "busy": id.isupper()} for id in ids)) for label, ids in groups
    ]
    return Shown(rows, more=False)


def test_only_what_single_rows_can_say_is_said_by_rows():
    before = shown(("Today", "abc"), ("May", "de"))
    for groups, gone, first, changed in (
        ((("Today", "abc"), ("May", "de")), [], None, []),
        ((("Today", "xabc"), ("May", "de")), [], "x", []),
        ((("Today", "cab"), ("May", "de")), ["c"], "c", []),
        ((("Today", "eabc"), ("May", "d")), ["e"], "e", []),
        ((("Today", "ac"), ("May", "de")), ["b"], None, []),
        ((("Today", "xab"), ("May", "de")), ["c"], "x", []),
    ):
        told = before.changes(shown(*groups))
        assert told, groups
        assert told["gone"] == gone
        assert [(place, item["id"]) for place, item in told["first"]] == (
            [(1, first)] if first else []
        )
        assert [item["id"] for item in told["changed"]] == changed
    for groups in (
        (("Today", "acb"), ("May", "de")),
        (("Today", "abcd"), ("May", "e")),
        (("Today", "abcde"),),
        (("Yesterday", "abc"), ("May", "de")),
        (),
    ):
        assert before.changes(shown(*groups)) is None, groups


async def said(app: App, id: str) -> list[tuple[str, int]]:
    """What the conversation shows, each with its number of versions."""
    opened = await app.kernel.registry.values(STORE)[0].get(id)
    return [(message.text, message.versions) for message in opened.messages]


async def test_two_tabs_that_write_into_one_conversation_lose_nothing():
    async with running("chat", model=Scripted("One.", "Two.", "Three.")) as app:
        first = await app.open("/chat")
        first.html = ""
        await first.act("chat.send", conversation="", text="Begin")
        id = first.client.subject
        await first.until(f'id="chat-row-{id}"[^>]*>((?!busy).)*</li>')
        second = await app.open(f"/chat/{id}")
        [store] = app.kernel.registry.values(STORE)
        seen = (await store.get(id)).messages[-1].id

        # At once: one is answered, the other is told and keeps its words in the box.
        first.html = second.html = ""
        await asyncio.gather(
            first.act("chat.send", conversation=id, text="from the first", after=seen),
            second.act("chat.send", conversation=id, text="from the second", after=seen),
        )
        await first.until('id="chat-go" data-busy="false"')
        assert "A reply is being written" in second.html
        assert await said(app, id) == [
            ("Begin", 1), ("One.", 1), ("from the first", 1), ("Two.", 1),
        ]  # fmt: skip

        # Sent by a page that has not seen that yet, it is a branch that both tabs show.
        first.html = second.html = ""
        await second.act("chat.send", conversation=id, text="from the second", after=seen)
        for page in (first, second):
            await page.until("from the second.*>2/2</span>")
            await page.until('id="chat-go" data-busy="false"')
        assert await said(app, id) == [
            ("Begin", 1), ("One.", 1), ("from the second", 2), ("Three.", 1),
        ]  # fmt: skip
        await first.act("chat.version", message=(await store.get(id)).messages[2].id, step=-1)
        assert ("from the first", 2) in await said(app, id)
        last = (await store.get(id)).messages[-1].id

        # What follows the last message that is shown is no branch; nor what names nothing.
        await first.act("chat.delete_message", message=last)
        for after in ("", "nothing", (await store.get(id)).messages[-1].id):
            first.html = ""
            await first.act("chat.send", conversation=id, text="more", after=after)
            await first.until('id="chat-go" data-busy="false"')
            assert (await said(app, id))[-2] == ("more", 1)


class Counting(Scripted):
    """A token is a word."""

    async def call(self, name: str, **data: object) -> object:
        if name == "template":
            messages: list[dict[str, list[dict[str, str]]]] = data["messages"]  # type: ignore[assignment]
            return " ".join(part["text"] for m in messages for part in m["parts"])
        return str(data["text"]).split()


async def test_after_something_was_left_out_the_next_prompts_begin_the_same():
    words = " ".join(["word"] * 20)
    model = Counting(words)
    model.info = type(model.info)("scripted", loader="scripted", context_length=500)
    async with running("conversations", "chat", "parameters", model=model) as app:
        page = app.page("/chat")
        await page.act("parameters.set", name="max_new_tokens", value="100")
        await app.web.snapshot(page.client)
        for number in range(24):
            page.html = ""
            await page.act("chat.send", text=f"{number} {words}", conversation=page.client.subject)
            await page.until('id="chat-go" data-busy="false"')
    prompts = [[m.text for m in asked.messages or ()] for asked in model.asked]
    sizes = [len(" ".join(prompt).split()) for prompt in prompts]
    cuts = [n for n, (a, b) in enumerate(pairwise(prompts), 1) if a[0] != b[0]]
    assert len(cuts) >= 2
    assert all(b - a >= 2 for a, b in pairwise(cuts)), "not at every turn"
    assert all(size <= 400 for size in sizes)
    assert all(sizes[cut] <= 300 for cut in cuts)
    for before, after in pairwise(prompts):
        if before[0] == after[0]:
            assert after[: len(before)] == before


async def test_a_hit_in_a_hidden_version_leads_to_it():
    async with running("chat", model=Scripted("An apricot.", "A banana.")) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Which fruit?")
        await page.until("An apricot")
        [store] = app.kernel.registry.values(STORE)
        [hit] = await store.search("apricot")
        await page.act("chat.regenerate", message=hit.message)
        await page.until("A banana")
        other = await app.open("/chat")
        await other.act("chat.search", text="apricot")
        await other.until("In a version that is not shown now")
        await other.act("chat.reveal", message=hit.message)
        await other.until("<p>An <b>apricot|<p>An apricot")
        assert other.client.subject == hit.conversation.id
        assert not (await store.search("apricot"))[0].hidden


async def test_a_page_that_goes_back_shows_nothing_that_is_hidden():
    async with running("chat", model=Scripted("An apricot.", "A banana.")) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Which fruit?")
        await page.until("An apricot")
        [store] = app.kernel.registry.values(STORE)
        asked, apricot = (await store.get(page.client.subject)).messages
        await page.act("chat.regenerate", message=apricot.id)
        await page.until("A banana")
        page.html = ""
        await page.act("chat.back", message=apricot.id)
        await page.until(f'data-at="chat-m{asked.id} .*A banana')
        await page.act("chat.delete_message", message=asked.id)
        page.html = ""
        await page.act("chat.back", message=asked.id)
        assert "data-at" not in page.html
