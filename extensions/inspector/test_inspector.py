"""What the sheet tells of a reply: now, later, and of replies that nobody watched."""

import asyncio
import html as markup
import re
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from extensions.conversations.api import STORE, Erased, StoredMessage
from extensions.inspector.archive import Archive
from extensions.inspector.describing import compared, described
from extensions.inspector.looking import speed
from extensions.inspector.records import Trace, record_of
from kernel.api import (
    HISTORY,
    INPUT,
    OUTPUT,
    REQUEST,
    Draft,
    Finish,
    Image,
    Message,
    Past,
    Phase,
    Request,
    Sampling,
    Text,
    Timings,
    Turn,
    Usage,
    whole_text,
)
from kernel.testing import App, Page, Scripted, running

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
EVIL = '<img src=x onerror="pwned()">'


class Model(Scripted):
    """One that renders and tokenizes."""

    async def call(self, name: str, **data: Any) -> Any:
        if name == "template":
            said = [f"<{m['role']}>{m['parts'][0]['text']}" for m in data["messages"]]
            return "".join(said) + "<assistant>"
        if name == "tokenize":
            words = data["text"].replace("<", " <").split()
            return [(n, word.encode(), word.startswith("<")) for n, word in enumerate(words)]
        return await super().call(name, **data)


@pytest.fixture
def model() -> Model:
    model = Model("One two.", "Three.", samplers=("temperature", "seed", "top_k"))
    model.info = structs.replace(
        model.info, chat_template=TEMPLATE, defaults=Sampling(top_k=40), context_length=2048
    )
    return model


@pytest.fixture
async def app(model: Model) -> AsyncIterator[App]:
    async with running("instruct", "chat", "inspector", model=model) as app:
        yield app


def modify(app: App, point: Any, modifier: Any, owner: str, rewrites: bool = False) -> None:
    how: Any = {"phase": Phase.NORMAL, "rank": 0, "rewrites": rewrites}
    app.kernel.registry.add(point, modifier, owner, **how)


async def ask(app: App, page: Page, text: str) -> StoredMessage:
    """The reply, once it is there."""
    conversation = page.client.subject
    await page.act("chat.send", conversation=conversation, text=text)
    store = app.kernel.registry.values(STORE)[0]
    while True:
        conversation = page.client.subject
        messages = (await store.get(conversation)).messages if conversation else ()
        if messages and messages[-1].role == "assistant" and messages[-1].state != "running":
            # Who watches replies was told by then.
            await page.until(f'chat-m{messages[-1].id}.*id="chat-go" data-busy="false"')
            if app.kernel.records["inspector"].handle:
                await page.until(f"chat-m{messages[-1].id}-more")
                await page.act("chat.menu", message=messages[-1].id)
                await page.until(f"inspector-look-{messages[-1].id}")  # Now a person can click.
            return messages[-1]
        await asyncio.sleep(0.01)


async def look(page: Page, reply: StoredMessage) -> str:
    """The sheet of a reply as HTML."""
    page.html = ""
    await page.act("inspector.look", message=reply.id)
    return await page.until(f'id="inspector-{reply.id}".*</dialog>')


def text_of(html: str) -> str:
    return markup.unescape(re.sub(r"<[^>]*>", "", html))


async def test_it_tells_what_was_sent_and_who_changed_it(app: App, model: Model):
    async def warmer(turn: Turn) -> Turn:
        return structs.replace(turn, sampling=Sampling(temperature=0.25, seed=7))

    async def shorter(past: Past) -> Past:
        return past

    async def politer(draft: Draft) -> Draft:
        first = Message("system", (Text(f"Be polite. {EVIL}"),))
        messages = (first, *(draft.request.messages or ()))
        return structs.replace(draft, request=structs.replace(draft.request, messages=messages))

    async def louder(text: str) -> str:
        return text.upper()

    modify(app, INPUT, warmer, "warm_words")
    modify(app, HISTORY, shorter, "shortener")
    modify(app, REQUEST, politer, "politeness")
    modify(app, OUTPUT, whole_text(louder), "loudness", rewrites=True)
    page = await app.open("/chat")
    reply = await ask(app, page, "Hello")
    html = await look(page, reply)
    assert EVIL not in html  # Shown, and no markup.
    said = text_of(html)
    assert f"<system>Be polite. {EVIL}<user>Hello<assistant>" in said
    assert "Rendered from the request that was kept, by the model that was asked." in said
    assert "Politeness: the request" in said
    assert f"Added: [system] Be polite. {EVIL}" in said
    assert "Taken out: One two." in said
    assert "Added: ONE TWO." in said
    assert "Shortener (the messages before it)" in said
    for row in ("temperature0.25Warm words", "seed7Warm words", "top_k40the model's own default"):
        assert row in said, row
    assert 'title="0"' in html
    assert "Seed7" in said


async def test_it_is_there_later_and_says_what_it_cannot_know(app: App, model: Model):
    page = await app.open("/chat")
    reply = await ask(app, page, "Hello")
    await app.toggle("inspector", on=False)
    unseen = await ask(app, page, "More")
    await app.toggle("inspector", on=True)
    assert "Rendered from the request that was kept, by the model" in await look(page, reply)
    html = text_of(await look(page, unseen))
    assert "made anew from the conversation" in html
    assert "<user>Hello<assistant>One two.<user>More" in html
    await app.kernel.slot().unload()
    html = text_of(await look(page, reply))
    assert "The model that was asked is not loaded" in html
    assert "<user>Hello<assistant>" in html


async def test_incognito_conversations_reach_no_disk(app: App):
    archive = app.extension("inspector").data / "inspector.sqlite3"
    page = await app.open("/chat")
    await page.act("chat.incognito")
    reply = await ask(app, page, "A secret of mine")
    html = await look(page, reply)
    assert "A secret of mine" in text_of(html)
    await asyncio.sleep(0.05)
    files = [archive, *archive.parent.glob("inspector.sqlite3-*")]
    assert not any(b"secret" in f.read_bytes() for f in files if f.exists())
    if archive.exists():
        assert Archive(archive, 1_000_000).find(reply.id) is None


async def test_what_is_deleted_for_good_is_forgotten_message_by_message(app: App):
    page, store = await app.open("/chat"), app.extension("inspector").one(STORE)
    first, second = await ask(app, page, "Hello"), await ask(app, page, "More")
    kept = Archive(app.extension("inspector").data / "inspector.sqlite3", 10_000_000)
    await app.until(lambda: {*kept.messages()} == {first.id, second.id})
    await store.delete_message(second.id)
    for older in (3600, -1):  # It may be undone at first.
        await store.purge(older=older)
        app.extension("conversations").emit(Erased())
        if older > 0:
            await app.settled()
            assert {*kept.messages()} == {first.id, second.id}
    await app.until(lambda: {*kept.messages()} == {first.id})
    await page.act("chat.delete", conversation=first.conversation)
    await page.act("conversations.erase", id="")
    await app.until(lambda: not kept.messages())


@pytest.mark.parametrize("why", ["failure", "damaged", "recovered"])
async def test_nothing_is_forgotten_while_the_store_cannot_tell(
    app: App, monkeypatch: pytest.MonkeyPatch, why: str
):
    """What is in a backup, or not yet on the disk, comes back."""
    page, store = await app.open("/chat"), app.extension("inspector").one(STORE)
    reply = await ask(app, page, "Hello")
    kept = Archive(app.extension("inspector").data / "inspector.sqlite3", 10_000_000)
    await app.until(lambda: bool(kept.messages()))
    await page.act("chat.delete", conversation=reply.conversation)
    real, told = type(store).gone, list[Sequence[str]]()

    async def gone(self: Any, messages: Sequence[str]) -> Sequence[str]:
        told.append(found := await real(self, messages))
        return found

    monkeypatch.setattr(type(store), "gone", gone)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), why, "The disk is full.")
        await page.act("conversations.erase", id="")
        await app.until(lambda: bool(told))
    assert (told, kept.messages()) == ([()], [reply.id])
    app.extension("conversations").emit(Erased())
    await app.until(lambda: not kept.messages())


async def test_a_full_disk_costs_the_inspector_nothing(app: App, monkeypatch: pytest.MonkeyPatch):
    page, tries = await app.open("/chat"), list[Archive]()

    def full(self: Archive, *_: object) -> None:
        tries.append(self)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        for name in ("keep", "trim", "messages", "forget"):
            patch.setattr(Archive, name, full)
        reply = await ask(app, page, "Hello")
        for _ in range(4):
            before = len(tries)
            app.extension("conversations").emit(Erased())
            await app.until(lambda before=before: len(tries) > before)
        assert "Hello" in text_of(await look(page, reply)), "it is at hand"
        assert tries[0].held() == [reply.id]
        await page.act("chat.delete", conversation=reply.conversation)
        await page.act("conversations.erase", id="")
        for _ in range(4):
            before = len(tries)
            app.extension("conversations").emit(Erased())
            await app.until(lambda before=before: len(tries) >= before + 2)
    app.extension("conversations").emit(Erased())
    await app.until(lambda: not tries[0].held())
    assert app.kernel.trouble == {}


async def test_what_goes_while_it_is_written_down_is_not_kept(
    model: Model, monkeypatch: pytest.MonkeyPatch
):
    loop, real, gone = asyncio.get_running_loop(), Archive.keep, list[str]()

    async def erase(message: str) -> None:
        await app.extension("inspector").one(STORE).delete_message(message)
        await app.extension("inspector").one(STORE).purge(older=-1)

    def keep(self: Archive, record: Trace) -> None:
        real(self, record)
        asyncio.run_coroutine_threadsafe(erase(record.message), loop).result(5)
        gone.append(record.message)

    monkeypatch.setattr(Archive, "keep", keep)
    async with running("instruct", "chat", "inspector", model=model) as app:
        for task in asyncio.all_tasks():  # Its first look through all would do it, too.
            if task.get_name().endswith("care"):
                task.cancel()
        page = await app.open("/chat")
        reply = asyncio.create_task(ask(app, page, "Hello"))
        await app.until(lambda: bool(gone))
        reply.cancel()
        kept = Archive(app.extension("inspector").data / "inspector.sqlite3", 10_000_000)
        await app.until(lambda: not kept.messages())


@pytest.mark.parametrize("point", [INPUT, REQUEST])
async def test_what_a_modifier_calls_secret_reaches_no_disk_by_the_inspector(
    app: App, model: Model, point: Any
):
    told = list[bool]()

    async def secret(value: Any) -> Any:
        if isinstance(value, Turn):
            return structs.replace(value, incognito=True)
        return structs.replace(value, request=structs.replace(value.request, incognito=True))

    async def output(deltas: AsyncIterator[Any], turn: Turn) -> AsyncIterator[Any]:
        told.append(turn.incognito)
        async for delta in deltas:
            yield delta

    modify(app, point, secret, "chat")
    modify(app, OUTPUT, output, "chat")
    page = await app.open("/chat")
    reply = await ask(app, page, "A secret of mine")
    assert "A secret of mine" in text_of(await look(page, reply))
    await app.until(lambda: not any("keep" in task.get_name() for task in asyncio.all_tasks()))
    assert [model.asked[-1].incognito, *told] == [True, True]
    assert not Archive(app.extension("inspector").data / "inspector.sqlite3", 1_000_000).messages()


def test_the_archive_has_a_limit_and_forgets(tmp_path: Path):
    archive = Archive(tmp_path / "a" / "i.sqlite3", 3_000)
    for n in range(60):
        request = Request(prompt="".join(chr(33 + (n * k) % 90) for k in range(400)))
        archive.keep(Trace(f"m{n}", f"c{n % 2}", request))
    assert archive.find("m0") is None
    found = archive.find("m59")
    assert found
    assert found.request == Request(prompt="".join(chr(33 + (59 * k) % 90) for k in range(400)))
    assert "m58" in archive.messages()
    archive.forget(["m59", "m0"])
    assert archive.find("m59") is None
    assert archive.find("m58")
    assert "m59" not in archive.messages()
    archive.keep(Trace("m99", "c", Request(prompt="x" * 10)))
    (tmp_path / "a" / "i.sqlite3").write_bytes(b"no database at all, and longer than a header" * 90)
    assert archive.find("m99") is None
    archive.keep(Trace("m100", "c"))
    assert archive.find("m100")
    assert Archive(tmp_path / "b", 0).keep(Trace("m", "c")) is None


def test_what_is_written_down_is_not_kept_in_memory_as_well(tmp_path: Path):
    archive = Archive(tmp_path / "inspector.sqlite3", 10_000)
    large = "".join(map(str, range(9999)))
    for record in (Trace("m1", "c"), Trace("m2", "c", Request(prompt=large))):
        archive.hold(record)
        archive.keep(record)
        assert archive.find(record.message) == record
    assert archive.held() == ["m2"], "it is larger than all that may be kept"


async def test_how_much_is_kept_is_a_setting(app: App):
    """When it is full the oldest go; nothing is written down where nothing may be."""
    page = await app.open("/chat")
    reply = await ask(app, page, "Hello")
    file = app.extension("inspector").data / "inspector.sqlite3"
    kept = Archive(file, 10_000_000)
    await app.until(lambda: bool(kept.find(reply.id)))
    old, newer = await ask(app, page, "Old"), await ask(app, page, "Newer")
    await app.until(lambda: bool(kept.find(old.id) and kept.find(newer.id)))
    for each in (old, newer):  # 0.7 MB each
        request = Request(prompt=secrets.token_hex(600_000))
        kept.keep(Trace(each.id, each.conversation, request))
    await app.configure("inspector", most_megabytes=1)
    second = await ask(app, page, "More")
    await app.until(lambda: bool(kept.find(second.id)))
    assert not kept.find(reply.id)
    assert not kept.find(old.id)
    assert kept.find(newer.id)
    await app.configure("inspector", most_megabytes=0)
    await app.until(lambda: not kept.messages())
    third = await ask(app, page, "Not to be kept")
    assert "Not to be kept" in text_of(await look(page, third)), "it is at hand"
    await app.toggle("inspector", on=False)
    assert not kept.find(third.id)


def test_what_differs():
    same = "\n".join(f"line {n}" for n in range(50))
    lines = compared(same, same.replace("line 20\n", "line XX\nmore\n"))
    assert [line.kind for line in lines] == ["same", "same", "gone", "new", "new", "same", "same"]
    assert compared("a", "a") == []
    [told] = compared("a\n" * 9000, "b\n" * 9000)
    assert "too many" in told.text


def test_pictures_are_named_and_left_out():
    image = Message("user", (Text("See: "), Image(b"x" * 5000, "image/png")))
    assert described(Past((image,), Turn())) == "[user] See: [image/png, 5,000 bytes]"
    unread = Message("user", (Image(b"", "image/png"),))
    assert described(Past((unread,), Turn())) == "[user] [image/png]", "nobody has read it yet"


def test_speed_is_told_where_it_is_known():
    assert speed(10, 2) == "5.0 tokens/s"
    assert speed(10, 0) == speed(0, 1) == speed(1, 1e-6) == ""


async def test_what_recording_costs(app: App):
    """Nothing a token; of a reply with a long history little, and not in the loop."""
    history = [
        Message("user" if n % 2 else "assistant", (Text("word " * 200),)) for n in range(100)
    ]
    took = {}
    for record in (False, True):
        best = 9.0
        for _ in range(5):
            reply = app.extension("chat").run(
                Turn((Message("user", (Text("?"),)),)), history, record=record
            )
            begun = time.perf_counter()
            async for _ in reply:
                pass
            best = min(best, time.perf_counter() - begun)
        took[record] = best
    assert took[True] - took[False] < 0.05, took


def test_a_record_of_a_reply_that_failed_at_once():
    class Failed:
        steps: Any = None
        request = None
        turn, model, finish = Turn(prompt="x"), "", Finish("error")

    message = StoredMessage("m", "c", "assistant", usage=Usage(), timings=Timings())
    failed: Any = Failed()
    assert record_of(message, failed, None) == Trace("m", "c")


async def test_it_shows_what_the_model_did_not_see(app: App, model: Model):
    model.info = structs.replace(model.info, context_length=60)  # Room for 45, or 33 after a cut.
    page = app.page()
    await ask(app, page, " ".join(["first"] * 20))
    reply = await ask(app, page, " ".join(f"word{n}" for n in range(60)))
    shown = text_of(await look(page, reply))
    assert "the oldest messages go first" in shown
    assert "user first first" in shown
    assert "This is its end, which the model did not see" in shown
    sent, _, rest = shown.partition("What was left out")
    assert "word10" in sent
    assert "word59" in rest.partition("What extensions changed")[0]
    assert "word59" not in sent
    model.info = structs.replace(model.info, context_length=2048)
    assert "left out" not in text_of(await look(page, await ask(app, page, "And?")))
