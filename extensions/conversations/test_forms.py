"""Every form comes in as it should; our own comes back exactly; hostile files cost nobody else."""

import asyncio
import errno
import importlib
import io
import json
import random
import struct
import time
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from extensions.conversations.api import STORE, Said, Store, Whole
from extensions.conversations.archives import members
from extensions.conversations.forms import branches, ours, prose, tavern, webui
from extensions.conversations.forms.moments import iso, named, seconds
from extensions.conversations.forms.reading import LARGEST, Unreadable, read
from extensions.conversations.incoming import MOST_BATCHES
from extensions.conversations.outgoing import FORMS, file_name
from extensions.conversations.whole import fingerprint, spoken
from kernel.api import Text
from kernel.testing import App, running

SAMPLES = Path(__file__).parents[2] / "tests" / "data" / "conversations"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "chats.sqlite3") as store:
        yield store


def plain(whole: Any) -> Any:
    """Comparable across two lives of the extension, whose classes are not the same."""
    return msgspec.to_builtins(whole)


def sample(name: str) -> Whole:
    [whole] = read(name, (SAMPLES / name).read_bytes())
    return whole


def said(whole: Whole) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in whole.messages]


def at(*parts: int) -> float:
    """A moment by the clock of this machine: year, month, day, hour, minute, second."""
    return time.mktime((*parts, *(0,) * (6 - len(parts)), 0, 0, -1))  # type: ignore[arg-type]


# --- text-generation-webui --------------------------------------------------------------


def test_a_history_with_versions_attachments_tools_and_times():
    whole = sample("logs/instruct/20251112-14-03-20.json")
    assert said(whole) == [
        ("user", "How tall is a giraffe?"),
        ("assistant", "About five metres & a half."),
        ("user", "And a <b>young</b> one?"),
        ("assistant", "Rather small."),
        ("assistant", "Nearly two metres at birth."),
        ("assistant", "It depends."),
    ]
    asked, answer, question, small, birth, depends = whole.messages
    assert (whole.title, whole.titled) == ("How tall is a giraffe?", 0)
    assert (whole.leaf, question.child, question.parent) == (birth.id, birth.id, answer.id)
    assert {m.parent for m in (small, birth, depends)} == {question.id}
    assert answer.model == "giraffe-7b.gguf"
    assert (asked.created, small.created) == (at(2025, 11, 12, 14, 3), at(2025, 11, 12, 14, 6))
    assert (whole.created, whole.updated) == (asked.created, depends.created)
    assert [part["type"] for part in question.parts] == ["text", "text", "image"]
    assert "zoo.txt\n\nThe zoo opens at nine." in question.parts[1]["text"]
    assert depends.reasoning == 'look_up({"what": "giraffe"})\ntwo metres'


def test_a_character_speaks_first_and_is_named_by_its_folder():
    whole = sample("logs/chat/Ada/persistent_Ada.json")
    assert said(whole) == [
        ("assistant", "*Ada looks up from her engine.* You are late."),
        ("user", "Sorry, Ada."),
        ("assistant", '*She smiles.* "Never mind."'),
        ("assistant", "*She goes on.*"),
    ]
    assert {m.name for m in whole.messages if m.role == "assistant"} == {"Ada"}
    assert (whole.folder, whole.title) == ("Ada", "Sorry, Ada.")
    assert whole.messages[0].created == at(2026, 1, 2, 9, 30)


def test_the_old_form_and_markup_of_an_extension():
    whole = sample("webui-old.json")
    assert [text for _, text in said(whole)] == ["Are you there?", "I am.", "Good.", "Indeed."]
    assert whole.title == "webui-old"
    [bare] = read("x.json", b'[["a", "b"], ["c", "d"]]')
    assert [text for _, text in said(bare)] == ["a", "b", "c", "d"]


def test_rows_of_the_api_with_a_system_message_and_a_tool():
    rows = [["Be short.", "", "", {"role": "system"}], ["a", "b", "found it", {}]]
    [whole] = read("x.json", json.dumps({"internal": rows, "visible": []}).encode())
    assert said(whole) == [("system", "Be short."), ("user", "a"), ("assistant", "b")]
    assert whole.messages[2].reasoning == "found it"


def test_what_a_user_s_extension_changed_is_told_to_the_model_as_it_was():
    value = {"internal": [["changed", "raw"]], "visible": [["typed &lt;", "shown"]]}
    [whole] = read("x.json", json.dumps(value).encode())
    mine, theirs = whole.messages
    assert (mine.text, mine.parts) == ("typed <", ({"type": "text", "text": "changed"},))
    assert (theirs.text, theirs.raw) == ("shown", "raw")


GREETED = [["<|BEGIN-VISIBLE-CHAT|>", "Hi!"], ["old", "form"]]


def history(rows: Any = GREETED) -> bytes:
    """A file of before May 2025, in which no times stand."""
    return json.dumps({"internal": rows, "visible": rows}).encode()


@pytest.mark.parametrize(
    ("path", "character", "title"),
    [
        ("logs/persistent_Ada.json", "Ada", "old"),
        ("logs/Ada_persistent.json", "Ada", "old"),
        ("logs/Ada Lovelace_20230401-101010.json", "Ada Lovelace", "old"),
        ("history_Ada_20250401T101010.json", "Ada", "old"),
        ("logs/chat/Ada/20240101-10-00-00.json", "Ada", "old"),
        ("chat/Ada/20240101-10-00-00.json", "Ada", "old"),
        ("Downloads/20240101-10-00-00.json", "", "old"),
        ("chats/2024/20240101-10-00-00.json", "", "old"),
        ("history_20240101-101010.json", "", "old"),
        ("backup/My trip_20240101-101010.json", "", "My trip_20240101-101010"),
        ("logs/20230401-101010.json", "", "old"),
        ("logs/Instruct_20230401-101010.json", "", "old"),
        ("instruct/20240101-10-00-00.json", "", "old"),
        ("logs/instruct/Chapter 2. The end.json", "", "Chapter 2. The end"),
    ],
)
def test_the_name_of_a_file_says_whom_the_conversation_is_with(
    path: str, character: str, title: str
):
    [whole] = read(path, history())
    names = {message.name for message in whole.messages if message.role == "assistant"}
    assert (whole.folder, names, whole.title) == (character, {character}, title)


PLACES = (
    "20240101-10-00-00.json",
    "Downloads/20240101-10-00-00.json",
    "logs/chat/Ada/20240101-10-00-00.json",
    "logs/chat/Bo/20240101-10-00-00.json",
    "Ada_persistent.json",
)


@pytest.mark.parametrize("before", PLACES)
async def test_the_same_file_comes_in_once_whatever_its_folder_is_called(store: Store, before: str):
    [whole] = read(before, history())
    id, _ = await store.take(whole)
    for path in PLACES:
        [again] = read(path, history())
        assert await store.take(again) == (id, False)


@pytest.mark.parametrize("name", ["", "Ada", "Downloads"])
async def test_what_came_in_with_a_name_in_its_fingerprint_is_not_new(store: Store, name: str):
    [whole] = read("x.json", history())
    named = spoken(whole, name)
    before = msgspec.structs.replace(named, source=fingerprint(named, "webui"))
    id, _ = await store.take(before)
    for path in PLACES:
        [again] = read(path, history())
        assert await store.take(again) == (id, False)
    [other] = read("x.json", history([*GREETED, ["and", "more"]]))
    assert (await store.take(other))[1]


def test_a_text_that_is_missing_costs_nothing_else():
    [whole] = read("x.json", history([["a", None], [None, "b"], ["c", "d"]]))
    assert [text for _, text in said(whole)] == ["a", "b", "c", "d"]


# --- times that only the file has -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("20240102-10-20-30", at(2024, 1, 2, 10, 20, 30)),
        ("Ada_20230401-101010", at(2023, 4, 1, 10, 10, 10)),
        ("history_Ada_20250401T101010", at(2025, 4, 1, 10, 10, 10)),
        ("20241399-10-20-30", 0.0),
        ("My favourite", 0.0),
    ],
)
def test_what_tells_no_time_is_of_the_time_in_its_file_s_name(name: str, moment: float):
    [whole] = read(f"logs/{name}.json", history())
    assert (whole.created, whole.updated) == (moment, moment)


def test_no_name_of_a_file_says_that_it_was_made_later_than_now():
    [whole] = read("logs/20990101-10-00-00.json", history())
    assert whole.updated <= time.time()


def test_what_tells_no_time_at_all_is_of_when_its_file_was_changed():
    day = at(2024, 5, 6)
    [undated] = read("logs/My favourite.json", history())
    [dated] = read("logs/My favourite.json", history(), day)
    assert (dated.created, dated.updated) == (day, day)
    assert (dated.source, dated.messages) == (undated.source, undated.messages)
    [named_] = read("logs/20240102-10-20-30.json", history(), day)
    assert named_.updated == at(2024, 1, 2, 10, 20, 30)
    [late] = read("x.txt", b"You:\nHello\n\nAda:\nHi.\n", time.time() + 1e6)
    assert late.updated <= time.time()
    path = "logs/instruct/20251112-14-03-20.json"
    assert read(path, (SAMPLES / path).read_bytes(), day) == [sample(path)]


# --- SillyTavern, ChatGPT, prose --------------------------------------------------------


def test_a_chat_of_sillytavern():
    whole = sample("Innkeeper - 2023-5-14 @16h 10m 25s 123ms.jsonl")
    assert said(whole) == [
        ("assistant", "Come in, come in!"),
        ("user", "A room, please."),
        ("assistant", "We are full."),
        ("assistant", "We have one left."),
        ("assistant", "For how long?"),
        ("assistant", "A remark that the model does not see."),
        ("system", "Night falls."),
    ]
    first, asked, full, left, long, remark, night = whole.messages
    assert whole.title == "A room, please."
    assert {m.parent for m in (full, left, long)} == {asked.id}
    assert remark.parent == left.id
    assert (left.model, left.reasoning, full.model) == (
        "inn-7b", "There is one under the roof.", "inn-3b",
    )  # fmt: skip
    assert (first.raw, remark.raw) == (None, "")
    assert asked.created == at(2023, 6, 19, 16, 13)
    assert left.created == 1687184040
    assert long.created == seconds("2023-06-19T16:15:00Z") == 1687191300
    assert (first.name, asked.name, night.name) == ("Innkeeper", "Traveller", "System")


def test_a_group_keeps_who_speaks():
    whole = sample("picnic.jsonl")
    assert [(m.name, m.role) for m in whole.messages] == [
        ("Bee", "assistant"), ("Bear", "assistant"), ("Ranger", "user"),
    ]  # fmt: skip
    assert whole.title == "picnic"


def test_an_export_of_chatgpt():
    found = read("conversations.json", (SAMPLES / "conversations.json").read_bytes())
    [whole] = found
    assert said(whole) == [
        ("user", "How is bread made?"),
        ("assistant", "With flour."),
        ("assistant", "With flour, water and time."),
    ]
    assert (whole.title, whole.leaf, whole.created) == ("Bread", "a2", 1700000000.5)
    assert whole.messages[1].parent == whole.messages[2].parent == "u"


def test_what_we_write_as_prose_is_read_again():
    letter, note = sample("letter.md"), sample("note.txt")
    assert said(letter) == [
        ("user", "Write a line to my aunt."),
        ("assistant", "Dear aunt,\n\n## all is well\n\nhere."),
    ]  # fmt: skip
    assert letter.title == "A letter"
    assert said(note) == [
        ("user", "What time is it?"),
        ("assistant", "Ten past two.\nRemember:\nyou asked."),
        ("user", "Thank you."),
    ]
    assert prose.markdown(letter).decode() == (SAMPLES / "letter.md").read_text("utf-8")
    assert prose.text(note).decode() == (SAMPLES / "note.txt").read_text("utf-8")


def test_a_text_of_a_user_with_a_name_is_read_again():
    said_ = [Said("user", "Hello?", name="Mo"), Said("assistant", "Hush.", name="Ada")]
    messages, leaf = branches.tree(branches.Row((each,)) for each in said_)
    whole = Whole("Late", messages, leaf)
    [again] = read("x.txt", prose.text(whole))
    assert said(again) == [("user", "Hello?"), ("assistant", "Hush.")]
    [again] = read("x.md", prose.markdown(whole))
    assert [each.name for each in again.messages] == ["Mo", "Ada"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Nov 12, 2025 14:03", at(2025, 11, 12, 14, 3)),
        ("June 19, 2023 4:13pm", at(2023, 6, 19, 16, 13)),
        ("June 19, 2023 12:13am", at(2023, 6, 19, 0, 13)),
        ("2023-5-14 @16h 10m 25s 123ms", at(2023, 5, 14, 16, 10, 25) + 0.123),
        ("2023-05-14@16h10m25s", at(2023, 5, 14, 16, 10, 25)),
        (1687184040000, 1687184040), ("1687184040000", 1687184040), (1700000000.5, 1700000000.5),
        ("2023-06-19T16:15:00.000Z", 1687191300),
        *((nothing, 0.0) for nothing in ("", "soon", None, True, [], "Nov 99, 2025 14:03", -5,
                                         "9" * 60, float("nan"), float("inf"), 1e300)),
    ],
)  # fmt: skip
def test_times(text: Any, moment: float):
    found = seconds(text)
    assert found == pytest.approx(moment) or (moment == 0.0 and not 0 < found < 1e12)


def test_times_are_written_as_the_others_read_them():
    for moment in (0.0, 1687191300.0, 1763000000.125):
        assert seconds(iso(moment)) == pytest.approx(moment, abs=0.001)
        assert seconds(named(moment)) == moment - moment % 60


# --- round trips ------------------------------------------------------------------------


def rows_of(whole: Whole) -> list[tuple[Any, ...]]:
    """The shown branch with all versions, whatever ids they have."""
    return [
        (
            row.shown,
            [
                (s.role, s.text, s.text if s.raw is None else s.raw, s.name, s.model)
                for s in row.versions
            ],
        )
        for row in branches.rows(whole)
    ]


@pytest.mark.parametrize("module", [webui, tavern])
@pytest.mark.parametrize(
    "name", ["logs/instruct/20251112-14-03-20.json", "logs/chat/Ada/persistent_Ada.json"]
)
def test_a_foreign_form_keeps_what_it_can(module: Any, name: str):
    whole = sample(name)
    ending = ".jsonl" if module is tavern else ".json"
    [again] = read(f"logs/chat/{whole.folder or 'x'}/{whole.title}{ending}", module.write(whole))
    kept = [
        (shown, [(role, text, raw, model) for role, text, raw, _, model in versions])
        for shown, versions in rows_of(whole)
    ]
    found = [
        (shown, [(role, text, raw, model) for role, text, raw, _, model in versions])
        for shown, versions in rows_of(again)
    ]
    if module is webui:  # It has one model for all versions of a reply.
        assert found == kept
    assert [(shown, [v[:3] for v in vs]) for shown, vs in found] == [
        (shown, [v[:3] for v in vs]) for shown, vs in kept
    ]


def test_attached_documents_keep_name_type_and_address():
    attached = [
        {"name": "zoo.txt", "type": "text/plain", "content": "Opens at nine."},
        {"name": "tall (2).pdf", "type": "application/pdf", "content": "Five\n\nmetres."},
        {"name": "Zoos", "type": "text/html", "url": "https://zoo.example/a(b)", "content": "<p>"},
    ]
    rows = [["How tall?", "Tall."], ["Thanks.", ""]]
    value = {"internal": rows, "visible": rows, "metadata": {"user_0": {"attachments": attached}}}
    [whole] = read("x.json", json.dumps(value).encode())
    asked = whole.messages[0]
    assert asked.text == "How tall?"
    assert [part["text"] for part in asked.parts] == [
        "How tall?",
        "\n\nzoo.txt\n\nOpens at nine.",
        "\n\ntall (2).pdf (application/pdf)\n\nFive\n\nmetres.",
        "\n\nZoos (text/html, https://zoo.example/a(b))\n\n<p>",
    ]
    written = json.loads(webui.write(whole))
    assert written["internal"][0][0] == "How tall?"
    assert written["metadata"]["user_0"]["attachments"] == attached
    [again] = read("x.json", json.dumps(written).encode())
    assert again.messages[0].parts == asked.parts
    odd = [{"name": 5, "type": ["x"], "url": {}, "content": "Words."}, {"content": 5}, "x"]
    value["metadata"] = {"user_0": {"attachments": odd}}
    [whole] = read("x.json", json.dumps(value).encode())
    assert whole.messages[0].parts[1:] == ({"type": "text", "text": "\n\n\n\nWords."},)


LETTERS = "abcé語😀\u202e\0\n<>&\"' \\"


def any_text(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randint(0, 20)))


async def any_conversation(store: Store, chance: random.Random) -> str:
    """Questions, replies of all kinds, versions, branches, deletions, states."""
    asked = await store.add_user("", any_text(chance), parts=(Text("a"), Text("b")), name="Me")
    id, messages = asked.conversation, [asked.id]
    for _ in range(chance.randint(1, 25)):
        target = chance.choice(messages)
        match chance.randint(0, 6):
            case 0:
                messages.append((await store.add_user(id, any_text(chance))).id)
            case 1 | 2:
                reply = await store.begin_reply(target, model=any_text(chance), name="It")
                text = any_text(chance)
                how = chance.choice(("done", "stopped", "error", "interrupted"))
                why = any_text(chance)
                await store.finish(reply.id, how, text, chance.choice((text, any_text(chance))),
                                   any_text(chance), error=why, left_out=3, cut=5)  # fmt: skip
                messages.append(reply.id)
            case 3:
                messages.append((await store.edit(target, any_text(chance))).id)
            case 4:
                await store.select_version(target, chance.choice((-1, 1)))
            case 5 if len(messages) > 1:
                await store.delete_message(target)
                messages.remove(target)
            case _:
                await store.set_state(id, "notes", any_text(chance), [1, {"a": any_text(chance)}])
    await store.rename(id, any_text(chance) * 30)
    await store.shelf.file(id, any_text(chance) + "/" + any_text(chance) * 9)
    await store.shelf.tag(id, any_text(chance))
    await store.shelf.pin(id, on=chance.random() < 0.5)
    return id


@pytest.mark.parametrize("seed", range(40))
async def test_our_own_form_comes_back_exactly(tmp_path: Path, seed: int):
    chance = random.Random(seed)
    async with (
        Store.open(tmp_path / "one.sqlite3") as one,
        Store.open(tmp_path / "two.sqlite3") as two,
    ):
        id = await any_conversation(one, chance)
        whole = await one.whole(id)
        data = ours.write(whole)
        [decoded] = read("x.spindle.json", data)
        assert decoded == whole
        assert await two.take(decoded) == (id, True)
        assert await two.whole(id) == whole
        assert ours.write(await two.whole(id)) == data
        shown, again = [
            # What follows a message that was deleted stands beside that one's versions now.
            [msgspec.structs.replace(m, parent="", number=1, versions=1) for m in opened.messages]
            for opened in (await one.get(id), await two.get(id))
        ]
        assert again == shown
        assert await two.take(decoded) == (id, False), "twice is once"
        assert await one.take(decoded) == (id, False)


async def test_what_has_gone_on_since_is_taken_in_as_another_once(store: Store):
    asked = await store.add_user("", "a")
    before = await store.whole(asked.conversation)
    await store.add_user(asked.conversation, "b")
    copy, new = await store.take(before)
    assert new
    assert copy != asked.conversation
    assert [m.text for m in (await store.get(copy)).messages] == ["a"]
    assert await store.take(before) == (copy, False)


async def test_what_went_on_elsewhere_is_taken_in_beside_what_it_came_from(store: Store):
    """Both came from the same file, on two machines."""
    [whole] = read("chat.json", b'{"internal": [["Hi", "Hello."]], "visible": [["Hi", "Hello."]]}')
    there, _ = await store.take(whole)
    await store.add_user(there, "weeks of work")
    [more] = read("x.spindle.json", ours.write(await store.whole(there)))
    await store.delete(there)
    await store.shelf.erase([there])
    here, _ = await store.take(whole)
    id, new = await store.take(more)
    assert (id != here, new) == (True, True)
    assert (await store.get(id)).messages[-1].text == "weeks of work"
    await store.add_user(here, "which goes on, too")
    assert await store.take(whole) in ((here, False), (id, False))
    assert await store.take(more) == (id, False)


async def test_what_was_deleted_for_good_does_not_come_again(store: Store):
    [whole] = read("chat.json", b'{"internal": [["Hi", "Hello."]], "visible": [["Hi", "Hello."]]}')
    id, _ = await store.take(whole)
    [_, last] = (await store.get(id)).messages
    await store.delete_message(last.id)
    await store.purge(older=-1)
    assert await store.take(whole) == (id, False)


async def test_an_import_is_listed_where_its_time_belongs(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    for day in (100, 200, 300):
        monkeypatch.setattr(time, "time", lambda day=day: day * 86_400.0)
        await store.create(f"day {day}")
    ids = [
        (await store.take(Whole(f"day {day}", (Said("user", f"{day}"),), updated=day * 86_400.0)))[
            0
        ]
        for day in (150, 250, 50, 350)
    ]
    await store.shelf.sort_in(ids)
    days = [350, 300, 250, 200, 150, 100, 50]
    assert [kept.title for kept in await store.list()] == [f"day {day}" for day in days]
    asked = await store.add_user("", "newest")
    assert (await store.list())[0].id == asked.conversation


# --- hostile files ----------------------------------------------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000
HOSTILE = {
    "nothing": b"", "nested": DEEP, "nested in it": b'{"internal": ' + DEEP + b"}",
    "deep lines": b'{"user_name": 1}\n' + DEEP, "no text": b"\xff\xfe\x00", "a number": b"1",
    "a text": b'"x"', "nothing in it": b"{}", "no rows": b'{"internal": 1}',
    "no pairs": b'{"internal": [[1, 2]]}', "other rows": b'{"internal": [["a", "b"], 7]}',
    "half": b'{"internal": [["a"', "no messages": b'{"internal": []}',
    "ours, newer": b'{"spindle": 9}', "ours, half": b'{"spindle": 1, "conversation": {"title": 1}}',
    "ours, odd": b'{"spindle": 1, "conversation": {"messages": [{"role": "root", "text": ""}]}}',
    "a bomb of lists": b"[" + b"[]," * 3_000_001 + b"[]]",
    "odd mapping": b'[{"mapping": {"a": 1}}]',
    "a loop": b'[{"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}}]',
    "only a head": b'{"user_name": "x"}', "no lines": b"\n\n",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.md", "x"])
def test_a_hostile_file_is_refused_with_a_reason(what: str, name: str):
    begun = time.monotonic()
    with pytest.raises(Unreadable, match=r"^[A-Z]") as refused:
        read(name, HOSTILE[what])
    assert len(str(refused.value)) < 300
    assert "recursion" not in str(refused.value)
    assert time.monotonic() - begun < 10


def test_an_empty_file_is_called_empty():
    for data in (b"", b" \n"):
        with pytest.raises(Unreadable, match="It is empty"):
            read("logs/instruct/x.json", data)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (webui.write, "x.json"),
        (tavern.write, "x.jsonl"),
        (prose.markdown, "x.md"),
        (prose.text, "x.txt"),
    ],
)
def test_a_file_of_more_messages_than_a_conversation_has_is_refused(
    write: Callable[[Whole], bytes], name: str, monkeypatch: pytest.MonkeyPatch
):
    said = tuple(
        Said("user" if n % 2 else "assistant", f"words {n}", id=f"{n}", parent=f"{n - 1}")
        for n in range(1, 5)
    )
    few, many = Whole("", said[:3], leaf="3"), Whole("", said, leaf="4")
    monkeypatch.setattr(branches, "MOST", 3)
    [whole] = read(name, write(few))
    assert len(whole.messages) == 3
    with pytest.raises(Unreadable, match="more than 200,000 messages"):
        read(name, write(many))


def test_a_file_of_a_hundred_megabytes_is_refused_before_it_is_read():
    with pytest.raises(Unreadable, match="larger than 100 MB"):
        read("x.json", bytes(LARGEST + 1))


def test_our_own_form_may_be_larger_than_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = Whole("Large", (Said("user", "word " * 1000),))
    (plain := tmp_path / "o.json").write_bytes(ours.write(whole))
    files = (plain, zipped(tmp_path / "o.zip", {"o.json": plain.read_bytes()}))
    monkeypatch.setitem(read.__globals__, "LARGEST", 3000)
    for file in files:
        [member] = members("o.json", file)
        assert read("o.json", member.read()) == [whole]
    with pytest.raises(Unreadable, match="larger than"):
        read("w.json", webui.write(whole))
    monkeypatch.setitem(read.__globals__, "LARGEST_OF_OURS", 3000)
    for file in files:
        with pytest.raises(Unreadable, match="larger than"):
            members("o.json", file)[0].read()


async def test_odd_values_are_left_out_and_the_rest_is_kept(store: Store):
    odd = {
        "internal": [["a\ud800b", "c"]],
        "visible": "x",
        "metadata": {
            "user_0": {"attachments": [1, {"image_data": "data:image/png;base64,???"}]},
            "assistant_0": {"timestamp": 1e400, "versions": [{"content": 5}, 7, {"content": "d"}],
                            "current_version_index": 99, "model_name": [1]},
        },
    }  # fmt: skip
    [whole] = read("../../etc/passwd.json", json.dumps(odd).encode())
    id, _ = await store.take(whole)
    texts = [m.text for m in (await store.get(id)).messages]
    assert texts == ["a\ufffdb", "c"]
    assert [m.text for m in whole.messages] == ["a\ud800b", "d", "c"]
    twice = b'{"internal": [["x", "y"]], "internal": [["a", "b"]], "visible": []}'
    assert said(read("x.json", twice)[0]) == [("user", "a"), ("assistant", "b")]


async def test_hostile_ids_and_states_of_our_own_form_do_no_harm(store: Store):
    victim = await store.add_user("", "mine")
    ids = [victim.id, "z" * 16, "../../x", victim.id, "", "ZZZZZZZZ"]
    messages = tuple(
        Said("user", f"{n}", id, ids[n - 1] if n else victim.id, child=victim.id, state="running",
             parts=({"type": "image", "data": "?", "media_type": "x"},), created=1e308,
             sampling={"temperature": "hot"}, left_out=-5)
        for n, id in enumerate(ids)
    )  # fmt: skip
    whole = Whole("x", messages, "nowhere", id=victim.conversation, states={"chat": {"setup": [1]}})
    [decoded] = read("x.json", ours.write(whole))
    id, new = await store.take(decoded)
    assert new
    assert id != victim.conversation
    assert [m.text for m in (await store.get(victim.conversation)).messages] == ["mine"]
    opened = await store.get(id)
    assert all(m.state == "interrupted" and m.parts == (Text(m.text),) for m in opened.messages)
    assert len((await store.whole(id)).messages) == 6


# --- archives ---------------------------------------------------------------------------


def zipped(path: Path, files: dict[str, bytes], **more: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = more.get("attr", 0)
            archive.writestr(info, data)
    return path


def test_an_archive_gives_its_files_and_nothing_leaves_it(tmp_path: Path):
    names = ["../../../etc/passwd.json", "/abs.json", "C:\\x.json", "a/b.json", "__MACOSX/x.json",
             "logs/chat_state.json", "x.exe", ".DS_Store"]  # fmt: skip
    file = zipped(tmp_path / "x.zip", dict.fromkeys(names, b'{"internal": [["a", "b"]]}'))
    found = members("x.zip", file)
    assert [each.name for each in found] == [*names[:4], "x.exe"]
    assert found[0].read() == b'{"internal": [["a", "b"]]}'
    with pytest.raises(Unreadable, match="ends with"):
        found[4].read()
    assert [*tmp_path.iterdir()] == [file]
    link = zipped(tmp_path / "l.zip", {"x.json": b"/etc/passwd"}, attr=0o120777 << 16)
    with pytest.raises(Unreadable, match="link"):
        members("l.zip", link)[0].read()


def test_an_archive_tells_when_its_files_were_changed(tmp_path: Path):
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, date in (("a.json", (2024, 5, 6, 7, 8, 10)), ("b.json", (1980, 1, 1, 0, 0, 0)),
                           ("c.json", (2024, 0, 0, 0, 0, 0))):  # fmt: skip
            archive.writestr(zipfile.ZipInfo(name, date), history())
    moments = [each.modified for each in members("x.zip", file)]
    assert moments == [at(2024, 5, 6, 7, 8, 10), 0.0, 0.0]


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bomb = zipped(tmp_path / "b.zip", {"x.json": bytes(LARGEST + 10)})
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(Unreadable, match="larger than"):
        members("b.zip", bomb)[0].read()
    ours = members.__globals__  # A server in another test may have imported the module anew.
    monkeypatch.setitem(read.__globals__, "LARGEST", 100_000)
    tracemalloc.start()
    with pytest.raises(Unreadable, match="larger than"):
        members("b.zip", bomb)[0].read()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000, "it is unpacked no further than it may be large"
    monkeypatch.undo()
    many = zipped(tmp_path / "m.zip", {f"{n}.json": b"" for n in range(300)})
    monkeypatch.setitem(ours, "LIST", 1000)
    with pytest.raises(Unreadable, match="more files"):
        members("m.zip", many)
    monkeypatch.undo()
    monkeypatch.setitem(ours, "MOST_MEMBERS", 200)
    with pytest.raises(Unreadable, match="more than any library"):
        members("m.zip", many)
    monkeypatch.undo()
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)  # As if it were one of a large library.
    large = zipped(tmp_path / "l.zip", {f"{n}.json": b"" for n in range(300)})
    assert len(members("l.zip", large)) == 300
    monkeypatch.setitem(ours, "LIST", 1000)
    with pytest.raises(Unreadable, match="more files"):
        members("l.zip", large)
    monkeypatch.undo()
    broken = tmp_path / "k.zip"
    broken.write_bytes(bomb.read_bytes()[:-30])
    with pytest.raises(Unreadable, match="damaged"):
        members("k.zip", broken)


def test_a_list_of_any_length_is_refused_wherever_an_archive_says_it(tmp_path: Path):
    """What is to be read is what zipfile reads, whatever else looks like the end of an archive."""
    end = b"PK\x05\x06"
    size, start = int.from_bytes(end, "little"), 4
    hidden = tmp_path / "h.zip"
    hidden.write_bytes(b"PK\x03\x04")
    with hidden.open("rb+") as file:
        file.seek(start + size)  # A hole, which takes no room on the disk.
        file.write(end + struct.pack("<4H2LH", 0, 0, 1, 1, size, start, 0))
    with pytest.raises(Unreadable, match="more files"):
        members("h.zip", hidden)


# --- over the wire ----------------------------------------------------------------------


async def send(
    app: App,
    batch: str,
    files: dict[str, bytes],
    part: int = 1 << 20,
    when: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """As the page sends them; `when` says when some were changed."""
    for number, (name, data) in enumerate(files.items()):
        for at in range(0, max(1, len(data)), part):
            path = f"/ext/conversations/incoming/{batch}/{number}?name={quote(name)}&at={at}"
            path += f"&modified={when[name] * 1000:.0f}" if name in when else ""
            answer = await app.fetch(path, "POST", body=data[at : at + part])
            assert answer.status == 204, answer.text


async def test_a_whole_folder_is_imported_once_and_bad_files_are_named():
    files = {str(f.relative_to(SAMPLES)): f.read_bytes() for f in SAMPLES.rglob("*.*")
             if f.is_file() and f.name != "README.md"}  # fmt: skip
    files |= {"logs/bad.json": b"{", "logs/<img src=x>.json": b"[]"}
    async with running("settings", "chat") as app:
        page = await app.open("/settings/conversations")
        await send(app, "a" * 24, files, part=500)
        await page.act("conversations.take", batch="a" * 24)
        html = await page.until("9 conversations imported, with.*</ul>")
        assert "logs/bad.json</b>: It is damaged, or no JSON" in html
        assert "&lt;img src=x&gt;.json" in html
        [store] = app.kernel.registry.values(STORE)
        listing = await store.shelf.listing()
        assert [(f.name, [c.title for c in held]) for f, held in listing.folders] == [
            ("Ada", ["Sorry, Ada."]),
            ("Crafts", []),
            ("Crafts/Wool", []),
        ]
        times = [kept.updated for kept in listing.rest]
        assert times == sorted(times, reverse=True)
        assert listing.rest[-1].title == "A room, please."

        page.html = ""
        await send(app, "b" * 24, files)
        await page.act("conversations.take", batch="b" * 24)
        await page.until("0 conversations imported.*9 were here already")
        assert len(await store.list()) == 9
        data = app.kernel.data / "state" / "conversations" / "incoming"
        await app.until(lambda: not [*data.iterdir()])  # What was sent is not left behind.


async def test_what_lies_beside_the_chats_is_passed_over_and_old_ones_are_of_their_time():
    """The folder logs of text-generation-webui as it was in 2023 and 2024."""
    beside = ("evaluations.csv", "train_dataset_sample.json", "notebook/2024-01-01.txt",
              "chat_state.json")  # fmt: skip
    files = dict.fromkeys((f"logs/{name}" for name in beside), b'["x"]')
    files |= {"logs/notebook/QA.txt": b"User:\nWho?\n\nAnswer:\nNobody.\n"}
    files |= {"logs/chat/notebook/20240101-10-00-00.json": history(),
              "logs/old.json": history([["old", "form"]])}  # fmt: skip
    when = {"logs/old.json": at(2023, 4, 1)}
    async with running("settings", "chat") as app:
        page = await app.open("/settings/conversations")
        for batch, new in (("a" * 24, 2), ("b" * 24, 0)):
            page.html = ""
            await send(app, batch, files, when=when)
            await page.act("conversations.take", batch=batch)
            assert "could not be read" not in await page.until(f"{new} conversations imported, w")
        [store] = app.kernel.registry.values(STORE)
        listed = [(kept.folder, kept.updated) for kept in await store.list()]
        assert listed == [("notebook", at(2024, 1, 1, 10)), ("", at(2023, 4, 1))]


async def test_everything_is_exported_and_comes_back():
    async with running("chat") as app:
        [store] = app.kernel.registry.values(STORE)
        for title in ("A/B: <c>", "A/B: <c>", "..", "con", "語" * 90, "x\r\nSet-Cookie: a=b"):
            asked = await store.add_user("", f"said in {title}")
            await store.rename(asked.conversation, title)
        await store.shelf.file(asked.conversation, "Work/../Letters")
        await store.create("Empty")
        for name, form in FORMS.items():
            answer = await app.fetch(f"/ext/conversations/export/{asked.conversation}/{name}")
            assert answer.status == 200
            assert answer.headers["content-disposition"].startswith("attachment; filename=")
            assert answer.headers["content-type"] == form.media_type
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers
            archive = await app.fetch(f"/ext/conversations/library.zip?form={name}")
            with zipfile.ZipFile(io.BytesIO(archive.body)) as opened:
                assert opened.testzip() is None
                names = opened.namelist()
            assert len({each.casefold() for each in names}) == len(names) == 7
            assert all(".." not in each.split("/") and each[0] not in "/\\" for each in names)
        ones = {kept.id: plain(await store.whole(kept.id)) for kept in await store.list()}
        archive = await app.fetch("/ext/conversations/library.zip")
        for path in ("none/spindle", f"{asked.conversation}/exe"):
            assert (await app.fetch(f"/ext/conversations/export/{path}")).status == 404
        assert (await app.fetch("/ext/conversations/library.zip?form=x")).status == 404
    async with running("chat") as app:
        page = await app.open("/chat")
        await send(app, "c" * 24, {"x.zip": archive.body})
        await page.act("conversations.take", batch="c" * 24)
        await page.until("conversations imported|could not be read")
        [store] = app.kernel.registry.values(STORE)
        found = {kept.id: plain(await store.whole(kept.id)) for kept in await store.list()}
        assert found == ones


async def test_what_is_sent_wrongly_is_refused():
    async with running("chat") as app:
        page = await app.open("/chat")
        good = "a" * 24
        for path in ("x/0?name=a", f"{good}/x?name=a", f"{good}/0", f"{good}/0?name=a&at=-1",
                     "..%2f..%2f" + "a" * 20 + "/0?name=a"):  # fmt: skip
            answer = await app.fetch(f"/ext/conversations/incoming/{path}", "POST", body=b"x")
            assert answer.status in (400, 404), path
        gap = f"/ext/conversations/incoming/{'a' * 24}/0?name=a&at=5"
        assert (await app.fetch(gap, "POST", body=b"x")).status == 409
        far = f"/ext/conversations/incoming/{'a' * 24}/99999?name=a&at=0"
        assert (await app.fetch(far, "POST", body=b"x")).status == 413
        assert (await app.fetch(gap, "POST", who="nobody", body=b"x")).status in (401, 403)
        await page.act("conversations.take", batch="../..")
        await page.until("No file has come")


async def test_imports_that_were_given_up_make_room_for_others():
    async with running("chat") as app:
        for number in range(MOST_BATCHES + 1):
            await send(app, f"{number:024x}", {"x.txt": b"You: Hello"})
        folder = app.kernel.data / "state" / "conversations" / "incoming"
        left = sorted(path.name for path in folder.iterdir())
        assert left == [f"{number:024x}" for number in range(1, MOST_BATCHES + 1)]


async def test_what_the_disk_does_not_take_is_told_and_given_up(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with running("chat") as app:
        module = importlib.import_module("extensions.conversations.incoming")
        with monkeypatch.context() as patched:
            patched.setattr(module, "_append", full)
            path = f"/ext/conversations/incoming/{'a' * 24}/0?name=x.txt&at=0"
            answer = await app.fetch(path, "POST", body=b"You: Hello")
        assert (answer.status, "No space left on device" in answer.text) == (507, True)
        assert not app.kernel.guard._history
        page = await app.open("/chat")
        await page.act("conversations.take", batch="a" * 24)
        await page.until("No file has come")


async def test_an_import_ends_when_the_disk_is_full_and_goes_on_when_it_is_not():
    files = {
        f"{n}.json": ours.write(Whole(f"{n}", (Said("user", random.randbytes(50_000).hex()),)))
        for n in range(5)
    }
    async with running("settings", "chat") as app:
        [store] = app.kernel.registry.values(STORE)
        page = await app.open("/settings/conversations")

        async def room(pages: int) -> None:
            query, file = f"PRAGMA max_page_count = {pages}", store._database
            await file._on(file._writer, lambda: file._writing and file._writing.execute(query))

        await room(1)
        await send(app, "a" * 24, files)
        await page.act("conversations.take", batch="a" * 24)
        await page.until("Not everything was imported.*disk is full.*choose the files again")
        assert len(await store.list()) == 1, "the one that met the full disk is kept in memory"
        assert not app.kernel.guard._history
        await room(1_000_000)
        await app.until(lambda: not store.failure)
        await send(app, "b" * 24, files)
        await page.act("conversations.take", batch="b" * 24)
        await page.until("4 conversations imported. 1 was here already")


async def test_files_that_came_during_an_import_wait_for_its_end():
    async with running("settings", "chat") as app:
        [store] = app.kernel.registry.values(STORE)
        for letter in "ab":
            whole = Whole(letter, (Said("user", letter),))
            await send(app, letter * 24, {f"{letter}.json": ours.write(whole)})
        take, taking, free = store.take, asyncio.Event(), asyncio.Event()

        async def waits(whole: Whole) -> tuple[str, bool]:
            taking.set()
            await free.wait()
            return await take(whole)

        store.take = waits
        page = await app.open("/settings/conversations")
        await page.act("conversations.take", batch="a" * 24)
        await taking.wait()
        await page.act("conversations.take", batch="b" * 24)
        await page.until("being imported already")
        free.set()
        await page.until("1 conversation imported")
        page.html = ""
        await page.act("conversations.take", batch="b" * 24)
        await page.until("1 conversation imported")
        assert len(await store.list()) == 2


async def test_one_file_with_half_a_character_does_not_end_the_import():
    ones = [
        {"title": title, "messages": [{"role": "user", "text": title}]}
        for title in ("zero", "one", "two")
    ]
    ones[1]["states"] = {"chat": {"key": "\ud800"}}
    files = {
        f"{number}.json": json.dumps({"spindle": 1, "conversation": one}).encode()
        for number, one in enumerate(ones)
    }
    async with running("settings", "chat") as app:
        page = await app.open("/settings/conversations")
        await send(app, "a" * 24, files)
        await page.act("conversations.take", batch="a" * 24)
        await page.until("1.json</b>: It holds something that cannot be kept")
        [store] = app.kernel.registry.values(STORE)
        assert {c.title for c in await store.list()} == {"zero", "two"}


async def test_broken_archives_are_named_and_keep_no_other_file_out(tmp_path: Path):
    newer = bytearray(zipped(tmp_path / "n.zip", {"a.md": b""}).read_bytes())
    newer[newer.index(b"PK\1\2") + 6] = 99  # The version that it takes to unpack it.
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("b.md", b"Hello " * 100)
    broken = bytearray(out.getvalue())
    broken[45] ^= 255
    files = {"0.zip": bytes(newer), "1.zip": bytes(broken), "2.txt": b"You:\nHello\n\nAda:\nHi\n"}
    async with running("settings", "chat") as app:
        page = await app.open("/settings/conversations")
        await send(app, "a" * 24, files)
        await page.act("conversations.take", batch="a" * 24)
        html = await page.until("1 conversation imported, with.*</ul>")
        assert "0.zip</b>: It is damaged" in html
        assert "b.md</b>: It is damaged" in html
        assert not app.kernel.guard._history


async def test_an_archive_has_what_was_written_to_meanwhile():
    async with running("chat") as app:
        [store] = app.kernel.registry.values(STORE)
        ids = [(await store.create(f"number {number}")).id for number in range(120)]
        whole, given = store.whole, 0

        async def writes(id: str) -> Whole:
            nonlocal given
            given += 1
            if given == 50:
                await store.add_user(ids[0], "still talking")
            return await whole(id)

        store.whole = writes
        archive = await app.fetch("/ext/conversations/library.zip?form=text")
        with zipfile.ZipFile(io.BytesIO(archive.body)) as opened:
            assert len(opened.namelist()) == 120


def test_a_title_becomes_the_name_of_a_file():
    for title in ("../x", "a/b", "nul", "", "...", "%2e%2e", "x" * 300, "\u202e.exe", "語" * 90):
        name = file_name(title, ".json")
        assert name.endswith(".json")
        assert not {*name} & {*'/\\:*?"<>|%\0'}
        assert len(name.encode()) <= 255


def test_the_golden_file_of_our_own_form_is_still_read():
    data = (SAMPLES / "spindle-1.spindle.json").read_bytes()
    whole = msgspec.json.decode(data, type=ours.File).conversation
    assert read("x.json", data) == [whole]
    assert ours.write(whole) == data
