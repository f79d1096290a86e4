"""Folders, tags, pins, the trash, and a search that knows of them."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from extensions.conversations import query, text
from extensions.conversations.api import STORE, Store, StoredMessage, Unknown, is_secret
from kernel.api import Refused
from kernel.testing import Scripted, running


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "chats.sqlite3", interval=0.02) as store:
        yield store


async def exchange(store: Store, conversation: str, question: str, answer: str) -> StoredMessage:
    asked = await store.add_user(conversation, question)
    reply = await store.begin_reply(asked.id, model="guide")
    return await store.finish(reply.id, "done", answer, answer)


async def named(store: Store, *titles: str) -> list[str]:
    return [(await exchange(store, "", title, "yes")).conversation for title in titles]


async def shown(store: Store) -> dict[str, list[str]]:
    """What the list shows: titles by part."""
    listing = await store.shelf.listing()
    parts = {folder.name: [c.title for c in held] for folder, held in listing.folders}
    return {
        "pinned": [c.title for c in listing.pinned],
        **parts,
        "": [c.title for c in listing.rest],
    }


# --- folders, tags, pins ----------------------------------------------------------------


async def test_a_conversation_is_filed_pinned_and_tagged(store: Store):
    a, b, c = await named(store, "a", "b", "c")
    await store.shelf.file(a, " Work / Letters ")
    await store.shelf.pin(b, on=True)
    kept = await store.shelf.tag(c, "#blue, green\tblue ,  ;")
    assert kept.tags == ("blue", "green")
    assert await shown(store) == {"pinned": ["b"], "Work": [], "Work/Letters": ["a"], "": ["c"]}
    await store.shelf.pin(b, on=False)
    await store.shelf.file(a, "")
    assert await shown(store) == {"pinned": [], "Work": [], "Work/Letters": [], "": ["c", "b", "a"]}
    assert await store.shelf.tags() == [("blue", 1), ("green", 1)]


async def test_a_folded_folder_hides_what_is_in_it_and_in_those_below(store: Store):
    a, b = await named(store, "a", "b")
    await store.shelf.file(a, "Work/Letters")
    await store.shelf.file(b, "Work")
    await store.shelf.fold("Work", on=True)
    listing = await store.shelf.listing()
    assert [(f.name, f.folded, f.count, held) for f, held in listing.folders] == [
        ("Work", True, 1, ())
    ]
    await store.shelf.fold("Work", on=False)
    assert (await shown(store))["Work/Letters"] == ["a"]


async def test_a_folder_is_renamed_with_what_is_in_it(store: Store):
    a, b, other = await named(store, "a", "b", "c")
    await store.shelf.file(a, "Work")
    await store.shelf.file(b, "Work/Letters")
    await store.shelf.file(other, "Workshop")
    assert await store.shelf.rename("Work", "Old/Job") == "Old/Job"
    assert await shown(store) == {
        "pinned": [], "Old": [], "Old/Job": ["a"], "Old/Job/Letters": ["b"], "Workshop": ["c"],
        "": [],
    }  # fmt: skip
    for new in ("Workshop", "Old/Job/Letters/x"):
        with pytest.raises(Refused, match="Choose another name"):
            await store.shelf.rename("Old/Job", new)
    with pytest.raises(Refused, match="Type one"):
        await store.shelf.make(" / ")
    with pytest.raises(Unknown):
        await store.shelf.rename("Nowhere", "Somewhere")


async def test_deleting_a_folder_leaves_its_conversations_and_can_be_undone(store: Store):
    a, b, c = await named(store, "a", "b", "c")
    await store.shelf.file(a, "Work/Letters")
    await store.shelf.file(b, "Work")
    await store.shelf.file(c, "Other")
    before = await shown(store)
    gone = await store.shelf.remove("Work")
    assert await shown(store) == {"pinned": [], "Other": ["c"], "": ["b", "a"]}
    await store.shelf.file(b, "Other")
    await store.shelf.refile(gone)
    assert await shown(store) == before | {"Work": [], "Other": ["c", "b"]}


async def test_what_comes_back_from_the_trash_finds_its_folder(store: Store):
    [a] = await named(store, "a")
    await store.shelf.file(a, "Work")
    await store.delete(a)
    assert (await shown(store))["Work"] == []
    await store.shelf.remove("Work")
    await store.shelf.file((await named(store, "b"))[0], "Work")
    await store.undelete(a)
    assert any("a" in titles for titles in (await shown(store)).values())


async def test_names_of_folders_and_tags_are_made_harmless(store: Store):
    [a] = await named(store, "a")
    for name in (
        "\ud800",
        "x" * 500 + "/" + "y" * 500,
        "a\0b\n/../..",
        "'); DROP TABLE folders;--",
    ):
        kept = await store.shelf.file(a, name)
        assert text.folder_of(kept.folder) == kept.folder, "what is kept stays what it is"
        assert len(kept.folder) <= 250
        assert (await store.shelf.tag(a, name)).tags == text.tags_of(name)
    assert len((await store.shelf.tag(a, " ".join(map(str, range(99))))).tags) == 20


# --- the trash --------------------------------------------------------------------------


async def test_the_trash_lists_restores_and_erases(store: Store):
    a, b, c = await named(store, "a", "b", "c")
    for id in (a, b):
        await store.delete(id)
    assert [(t.title, t.messages) for t in await store.shelf.trash()] == [("b", 2), ("a", 2)]
    await store.undelete(a)
    assert await store.shelf.erase([a, b, c, "none"]) == 1, "only what is in the trash"
    assert await store.shelf.trash() == []
    assert [kept.id for kept in await store.list()] == [c, a]
    with pytest.raises(Unknown):
        await store.undelete(b)


# --- search -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("two words", query.Query(("two", "words"))),
        ('"two words" three', query.Query(("two words", "three"))),
        ('"not closed yet', query.Query(("not closed yet",))),
        ("tag:blue in:Work from:me x", query.Query(("x",), ("blue",), "Work", "user")),
        ('IN:"My Letters" from:model', query.Query((), (), "My Letters", "assistant")),
        ("from:nobody tag: in:", query.Query(("from:nobody", "tag:", "in:"))),
        ('""', query.Query()),
        ("\0 \ud800", query.Query(("\ufffd",))),
    ],
)
def test_a_search_is_read_as_it_is_typed(typed: str, found: query.Query):
    assert query.read(typed) == found


@pytest.mark.parametrize(
    "typed", ["x" * 1_000_000, "tag:" + "x" * 1_000_000, "in:" + "%_" * 99_999]
)
async def test_a_search_of_any_length_is_answered(store: Store, typed: str):
    await store.create("xylophone")
    assert not await store.search(typed)
    assert not await store.search("a b " + typed)


async def test_search_narrows_by_tag_folder_and_speaker(store: Store):
    a, b = await named(store, "an owl question", "another owl")
    await exchange(store, a, "and then", "the owl answers")
    await store.shelf.file(a, "Birds/Night")
    await store.shelf.tag(b, "wise")

    async def hits(typed: str) -> list[str]:
        return sorted({hit.conversation.id for hit in await store.search(typed)})

    assert await hits("owl") == sorted([a, b])
    assert await hits("owl tag:wi") == [b]
    assert await hits("owl in:birds") == await hits("owl in:night") == [a]
    assert await hits("owl in:none") == [b]
    assert await hits('"owl answers"') == await hits('"owl answers" from:model') == [a]
    assert await hits('"answers owl"') == await hits('"owl answers" from:me') == []
    assert await hits("tag:wise") == [b]
    assert await hits("in:Birds") == [a]
    [reply] = await store.search("owl from:model")
    assert reply.pieces == ("the ", "owl", " answers")


async def test_the_best_come_first_and_of_equals_the_newest(store: Store):
    long = "filler " * 200
    weak, strong, late = await named(store, "one", "two", "three")
    await exchange(store, weak, "x", f"{long} heron {long}")
    await exchange(store, strong, "x", "heron heron heron")
    await exchange(store, late, "x", f"{long} heron {long}")
    assert [hit.conversation.id for hit in await store.search("heron")] == [strong, late, weak]


def test_every_hit_in_an_excerpt_is_marked():
    words = "x" * 100 + " one TWO three two " + "y" * 300
    found = text.pieces(words, ("two", "one"))
    assert found[1::2] == ("one", "TWO", "two")
    assert found[0].startswith("…")
    assert found[-1].endswith("…")
    assert "".join(found).strip("…") in words
    assert text.pieces("no hit", ("z",)) == ("no hit",)
    chance = random.Random(3)
    for _ in range(300):
        words = "".join(chance.choices("ab.*\\ ", k=chance.randint(0, 60)))
        terms = tuple("".join(chance.choices("ab.*", k=2)) for _ in range(3))
        found = text.pieces(words, terms, around=5, length=20)
        assert "".join(found).strip("…") in words
        assert all(each.lower() in terms for each in found[1::2])


# --- around a message -------------------------------------------------------------------


async def test_a_message_far_above_is_shown_with_what_stands_around_it(store: Store):
    first = await exchange(store, "", "0", "0")
    for n in range(1, 40):
        await exchange(store, first.conversation, str(n), str(n))
    opened = await store.get(first.conversation, limit=10, around=first.id)
    assert [m.text for m in opened.messages] == ["0", "0", "1", "1", "2", "2", "3"]
    assert (opened.earlier, opened.later) == (False, True)
    on = await store.after(first.conversation, opened.messages[-1].id, limit=5)
    assert [m.text for m in on.messages] == ["3", "4", "4", "5", "5"]
    assert on.later
    end = await store.after(first.conversation, on.messages[-1].id, limit=500)
    assert end.messages[-1].text == "39"
    assert not end.later
    assert not (await store.after(first.conversation, end.messages[-1].id)).messages
    near = await store.get(first.conversation, limit=10, around=end.messages[-2].id)
    assert not near.later
    assert await store.shows(first.id)
    await store.edit(first.parent, "another beginning")
    assert not await store.shows(first.id)


# --- in the page ------------------------------------------------------------------------


async def test_folders_and_pins_reach_the_list_of_every_page():
    async with running("chat", model=Scripted("Yes.")) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="A letter")
        id = page.client.subject
        await page.until('id="chat-go" data-busy="false"')
        other = await app.open("/chat")
        await page.act("conversations.make_folder", name="Work")
        await other.until('data-folder="Work"')
        await page.act("conversations.file", conversation=id, folder="Work")
        await other.until(
            f'aria-labelledby="chat-group-1"[^>]*>\\s*<li class="entry" id="chat-row-{id}"'
        )
        await page.act("conversations.fold", folder="Work", on=True)
        await other.until('aria-expanded="false"')
        page.html = ""
        await page.act("conversations.sheet", conversation=id)
        await page.until('value="Work" selected.*Pin to the top')
        await page.act("conversations.arrange", conversation=id, title="A letter",
                       folder="", new_folder="Home", tags="blue")  # fmt: skip
        await other.until('data-folder="Home"')
        kept = await app.kernel.registry.values(STORE)[0].conversation(id)
        assert (kept.folder, kept.tags, kept.titled) == ("Home", ("blue",), 0)
        await page.act("conversations.pin", conversation=id, on=True)
        await other.until(">Pinned<")
        page.html = ""
        await page.act("conversations.remove_folder", folder="Home")
        await page.until("Undo")
        await page.act("conversations.refile", removal="1")
        await other.until('data-folder="Home"')


async def test_a_hit_opens_its_conversation_at_the_message():
    async with running("chat", model=Scripted("Yes.")) as app:
        [store] = app.kernel.registry.values(STORE)
        first = await exchange(store, "", "the needle", "0")
        for n in range(120):
            await exchange(store, first.conversation, f"question {n}", f"answer {n}")
        page = await app.open("/chat")
        await page.act("chat.search", text="needle")
        [hit] = [h for h in await store.search("needle from:me") if h.message]
        await page.until(f"chat.reveal.*{hit.message}")
        page.html = ""
        await page.act("chat.reveal", message=hit.message)
        await page.until(f'data-at="chat-m{hit.message} 1"')
        assert page.client.subject == first.conversation
        assert f'id="chat-m{hit.message}"' in page.html
        assert "answer 119" not in page.html
        assert "Show later messages" in page.html

        # Nothing is added below a gap; whoever goes on gets there, and then everything.
        other = await app.open(f"/chat/{first.conversation}")
        page.html = other.html = ""
        await other.act("chat.send", conversation=first.conversation, text="in another tab")
        await other.until(r'Yes\..*id="chat-go" data-busy="false"')
        assert "in another tab" not in page.html
        opened = await store.get(first.conversation, around=hit.message)
        after = opened.messages[-1].id
        while messages := (await store.after(first.conversation, after)).messages:
            await page.act("chat.later", conversation=first.conversation, after=after)
            after = messages[-1].id
        assert "in another tab" in page.html
        page.html = ""
        await other.act("chat.send", conversation=first.conversation, text="once more")
        await page.until("once more")


async def test_who_writes_from_far_above_is_taken_to_the_end():
    async with running("chat", model=Scripted("Yes.")) as app:
        [store] = app.kernel.registry.values(STORE)
        first = await exchange(store, "", "the needle", "0")
        for n in range(120):
            await exchange(store, first.conversation, f"question {n}", f"answer {n}")
        page = await app.open("/chat")
        await page.act("chat.reveal", message=first.id)
        page.html = ""
        await page.act("chat.send", conversation=first.conversation, text="from above")
        await page.until("answer 119")
        await page.until("from above")
        await asyncio.sleep(0)
        assert (await store.get(first.conversation)).messages[-1].text in ("Yes.", "")


async def test_the_palette_makes_folders_and_incognito_conversations():
    async with running("commands", "chat", "conversations") as app:
        page = await app.open("/chat")
        await page.act("commands.show")
        shown = await page.until('id="commands-list".*')
        for said in ("New folder", "New incognito conversation", "/settings/conversations"):
            assert said in shown
        for name in ("New folder", "New folder 2"):
            await page.act("conversations.new_folder")
            await page.until(f"“{name}” is in the list")
        [store] = app.kernel.registry.values(STORE)
        assert [folder.name for folder in await store.shelf.folders()] == [
            "New folder", "New folder 2",
        ]  # fmt: skip
        await page.act("chat.incognito")
        assert is_secret(page.client.subject)
