"""Pictures of messages: kept beside the words, read by nobody but who needs them."""

import base64
import sqlite3
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extensions.conversations import enclosed, pictures, tree
from extensions.conversations.api import STORE, Kept, Store, StoredMessage, Whole, weight_of
from extensions.conversations.recovery import recover
from extensions.conversations.refuge import Refuge
from kernel.api import Image, Message, Part, Text, Turn
from kernel.testing import Scripted, running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with Store.open(path, interval=0.02) as store:
        yield store


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 4, height: int = 3, more: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + b"Z" * width) * height
    parts = chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def jpeg(turned: int = 1) -> bytes:
    """20 by 10 dots as they lie in the file; `turned` as a camera says how it was held."""
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x112, 3, 1, turned, 0, 0)
    frame = b"\xff\xc0\x00\x11\x08\x00\x0a\x00\x14\x03" + b"\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + frame + b"\xff\xd9"


def webp(kind: bytes, data: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


GIF = b"GIF89a" + struct.pack("<HH", 7, 9) + b"..."
LOSSY = webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 33, 44) + bytes(9))
LOSSLESS = webp(b"VP8L", b"\x2f" + struct.pack("<I", 32 | 43 << 14) + bytes(9))
EXTENDED = webp(b"VP8X", bytes(4) + b"\x20\0\0\x2b\0\0" + bytes(9))
PICTURE = png()
PARTS: tuple[Part, ...] = (Image(PICTURE, "image/png", (4, 3)), Text("Look"))


async def filled(store: Store, message: StoredMessage) -> tuple[Part, ...]:
    return await store.with_bytes((await store.message(message.id)).parts)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM enclosures").fetchone()[0]


# --- what a picture is ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "look"),
    [
        (png(30, 20), "image/png", ((30, 20), False)),
        (jpeg(), "image/jpeg", ((20, 10), False)),
        (jpeg(6), "image/jpeg", ((10, 20), True)),
        (jpeg(3), "image/jpeg", ((20, 10), True)),
        (GIF, "image/gif", ((7, 9), False)),
        (LOSSY, "image/webp", ((33, 44), False)),
        (LOSSLESS, "image/webp", ((33, 44), False)),
        (EXTENDED, "image/webp", ((33, 44), False)),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='5' height='5'/>", "", ((0, 0), False)),
        (b"\xff\xd8\xff" + bytes(99), "image/jpeg", ((0, 0), False)),
        (b"\xff\xd8" + b"\xff\xe0\0\2" * 300_000 + jpeg()[2:], "image/jpeg", ((0, 0), False)),
        (b"", "", ((0, 0), False)),
    ],
)
def test_kind_and_size_are_read_from_the_bytes(data: bytes, kind: str, look: Any):
    assert pictures.kind_of(data) == kind
    assert pictures.look_of(data) == look
    for end in range(
        min(len(data), 300)
    ):  # However it is cut off, nothing worse than no size comes of it.
        pictures.look_of(data[:end])


# --- beside the words -------------------------------------------------------------------


async def test_what_is_kept_says_what_it_is_and_has_its_bytes_elsewhere(store: Store):
    asked = await store.add_user("", "Look", parts=(Image(PICTURE, "image/x"), Text("Look")))
    kept, words = asked.message.parts
    assert kept == Kept(b"", "image/png", (4, 3), len(PICTURE), False, asked.id, 0)
    assert isinstance(kept, Kept)
    assert (words, weight_of(kept)) == (Text("Look"), len(PICTURE))
    assert await filled(store, asked) == PARTS
    assert await filled(store, await store.edit(asked.id, "See")) == (PARTS[0], Text("See"))
    photo = await store.add_user("", "", parts=(Image(jpeg(6), "image/jpeg"),))
    assert photo.parts == (Kept(b"", "image/jpeg", (10, 20), len(jpeg()), True, photo.id, 0),)
    copy = await store.fork(asked.id, "Copy")
    assert await filled(store, (await store.get(copy.id)).messages[0]) == PARTS


async def test_a_conversation_is_opened_without_reading_its_pictures(store: Store, path: Path):
    asked = await store.add_user("", "Look", parts=PARTS)
    asked_for: list[str] = []

    def watch(c: sqlite3.Connection) -> None:
        c.set_trace_callback(asked_for.append)

    await store._database.read(watch)
    await store.get(asked.conversation)
    await store.history(asked.id)
    assert any("FROM up JOIN messages" in query for query in asked_for)
    assert not any("enclosures" in query for query in asked_for)
    await filled(store, asked)
    assert any("enclosures" in query for query in asked_for)
    with closing(sqlite3.connect(path)) as database:
        (words,) = database.execute("SELECT parts FROM messages").fetchone()
    assert base64.b64encode(PICTURE[:9]).decode() not in words


async def test_they_go_when_their_message_goes_for_good(store: Store, path: Path):
    first = await store.add_user("", "Look", parts=PARTS)
    second = await store.add_user("", "Look", parts=PARTS)
    await store.delete_message(first.id)
    assert rows(path) == 2
    await store.undelete_message(first.id)
    assert await filled(store, first) == PARTS
    await store.delete_message(first.id)
    await store.purge(older=-1)
    assert rows(path) == 1
    await store.delete(second.conversation)
    await store.purge(older=-1)
    assert rows(path) == 0


async def test_one_that_is_lost_costs_itself(store: Store):
    asked = await store.add_user("", "Look", parts=PARTS)
    await store._database.write(lambda c: c.execute("DELETE FROM enclosures"))
    assert await filled(store, asked) == (Text(enclosed.LOST), Text("Look"))
    whole = await store.whole(asked.conversation)
    assert msgspec.json.encode(whole)


async def test_what_lies_among_the_words_as_it_did_before_is_still_read(store: Store):
    asked = await store.add_user("", "Look", parts=PARTS)
    plain = msgspec.json.encode((Image(PICTURE, "image/png"), Text("Look"))).decode()

    def work(c: sqlite3.Connection) -> None:
        c.execute("DELETE FROM enclosures")
        c.execute("UPDATE messages SET parts = ?", (plain,))

    await store._database.write(work)
    (part, _) = (await store.message(asked.id)).parts
    assert isinstance(part, Image)
    assert weight_of(part) == len(PICTURE)
    before = (Image(PICTURE, "image/png"), Text("Look"))
    assert await filled(store, asked) == before
    edited = await store.edit(asked.id, "See")
    assert await filled(store, edited) == (PARTS[0], Text("See")), "and goes where they are now"


async def test_a_file_has_them_whole_and_gives_them_back(store: Store, path: Path, tmp_path: Path):
    asked = await store.add_user("", "Look", parts=PARTS)
    data = msgspec.json.encode(await store.whole(asked.conversation))
    assert base64.b64encode(PICTURE) in data
    async with Store.open(tmp_path / "other.sqlite3") as other:
        for _ in range(2):
            id, _ = await other.take(msgspec.json.decode(data, type=Whole))
            [there] = (await other.get(id)).messages
            assert await filled(other, there) == PARTS
        assert rows(tmp_path / "other.sqlite3") == 1, "the same is kept once"


async def test_what_is_incognito_is_in_memory_and_then_nowhere(store: Store, path: Path):
    secret = await store.create(incognito=True)
    asked = await store.add_user(secret.id, "Look", parts=PARTS)
    other = await store.add_user("", "Look", parts=PARTS[:1])
    both = await store.with_bytes((*asked.parts, *other.parts))
    assert both == (*PARTS, PARTS[0])
    assert rows(path) == 1
    await store.delete(secret.id)
    query = "SELECT count(*) FROM enclosures"
    assert (await store.secret.read(lambda c: c.execute(query).fetchone()))[0] == 0


def cut(path: Path, last: bytes) -> None:
    """Break the chain of pages before the last one that holds this."""
    data = bytearray(path.read_bytes())
    page = (data.rindex(last) // 4096 - 1) * 4096
    data[page : page + 4] = b"\xff\xff\xff\xfe"
    path.write_bytes(data)


# --- through what happens to files ------------------------------------------------------


async def test_r8_a_damaged_file_gives_back_the_pictures_that_are_whole(path: Path):
    large = png(40, 30, chunk(b"tEXt", bytes(range(256)) * 100))
    async with Store.open(path) as store:
        small = await store.add_user("", "A", parts=PARTS)
        big = await store.add_user("", "B", parts=(Image(large, "image/png", (40, 30)),))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    recover(path)
    async with Store.open(path) as store:
        assert await filled(store, small) == PARTS
        assert await filled(store, big) == (Image(large, "image/png", (40, 30)),)
    cut(path, bytes(range(200)))
    recover(path)
    async with Store.open(path) as store:
        assert await filled(store, small) == PARTS
        assert await filled(store, big) == (Text(enclosed.LOST),), "half a picture is none"


async def test_what_came_while_the_disk_took_nothing_is_written_later(path: Path):
    async with Store.open(path) as store:
        first = await store.add_user("", "A", parts=PARTS)
    with closing(sqlite3.connect(path, isolation_level=None)) as disk:
        disk.execute("PRAGMA foreign_keys = ON")
        refuge = Refuge(disk)
        tree.add_message(refuge.connection, first.conversation, first.id, "user", "B", parts=PARTS)
        refuge.back(disk)
        refuge.connection.close()
        assert disk.execute("SELECT count(*) FROM enclosures").fetchone() == (2,)
        assert not disk.execute("PRAGMA foreign_key_check").fetchall()


# --- to a model -------------------------------------------------------------------------


async def test_a_model_gets_the_bytes_of_what_it_is_sent_and_of_nothing_else():
    model, asked_for = Scripted("Yes.", capabilities=("text", "images")), list[str]()
    async with running("conversations", "instruct", model=model) as app:
        (store,) = app.kernel.registry.values(STORE)
        asked = await store.add_user("", "Look", parts=PARTS)
        await store.add_user(asked.conversation, "Not this", parts=PARTS)
        await store._database.read(lambda c: c.set_trace_callback(asked_for.append))
        past = [each.message for each in await store.history(asked.id)]
        reply = app.run(Turn(messages=(Message("user", (Text("And?"),)),)), past)
        _ = [delta async for delta in reply]
        assert model.asked[-1].messages
        assert model.asked[-1].messages[0].parts == (*PARTS, Text("\n\n"), Text("And?"))
        [query] = [each for each in asked_for if "enclosures" in each]
        assert f"message = '{asked.id}' AND number = 0" in query
