"""Pictures: what is one, where they wait, that they are kept, shown, and seen."""

import asyncio
import re
import struct
import zlib

import msgspec
import pytest

from extensions.conversations.api import STORE, Store, StoredMessage, Whole
from extensions.images import boxes, desk, pictures, seeing, serving
from kernel.api import Image, Message, Part, Past, Refused, Request, Text, Turn
from kernel.testing import ROOT, App, Page, Scripted, running

BOX = "0123456789abcdef" * 2
OTHER = "f" * 32
SEES = ("text", "images")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 4, height: int = 3, shade: int = 90) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([shade]) * width) * height if width * height < 10_000 else b""
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def turned(how: int) -> bytes:
    """20 by 10 dots as they lie in the file, and how the camera was held."""
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x112, 3, 1, how, 0, 0)
    frame = b"\xff\xc0\x00\x11\x08\x00\x0a\x00\x14\x03" + b"\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + frame + b"\xff\xd9"


JPEG = turned(1)
GIF = b"GIF89a" + struct.pack("<HH", 7, 9) + b"..."
BMP = b"BM" + bytes(98)
WEBP = b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f" + struct.pack("<I", 32 | 43 << 14) + bytes(13)


# --- what a picture is -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "size"),
    [
        (png(30, 20), "image/png", (30, 20)),
        (JPEG, "image/jpeg", (20, 10)),
        (GIF, "image/gif", (7, 9)),
    ],
)
def test_what_engines_read_is_taken_as_it_is(data: bytes, kind: str, size: tuple[int, int]):
    assert pictures.picture(data) == Image(data, kind, size)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (WEBP, "do not read WebP"),
        (turned(6), "lies on its side"),
        (turned(3), "lies on its side"),
        (png(9000, 9000), "9,000 by 9,000 dots, more than 64 million"),
        (png(70_000, 20), "70,000 by 20 dots, more than 65,535 in a row"),
        (png()[:-12], "cut off"),
        (png()[:60], "cut off"),
        (BMP, "Choose a PNG, JPEG, WebP or GIF"),
        (b"\0\0\0\x18ftypheic", "no picture"),
        (bytes(pictures.LARGEST + 1), "no picture"),
    ],
)
def test_what_a_browser_can_make_of_it_is_asked_for(data: bytes, words: str):
    with pytest.raises(pictures.Redraw, match=words):
        pictures.picture(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "Choose a PNG, JPEG, WebP or GIF"),
        (b"<html><script>alert(1)</script>", "no picture"),
        (b"GGUF" + bytes(pictures.LARGEST), "a model and no picture. Drop it onto the Model page"),
        (png()[:18], "broken"),
        (png(0, 5), "broken"),
        (b"\xff\xd8\xff" + bytes(99), "broken"),
        (png() + bytes(pictures.LARGEST), "more than 7 MB"),
    ],
)
def test_what_is_none_or_too_much_is_refused_with_a_sentence(data: bytes, words: str):
    with pytest.raises(Refused, match=words) as refusal:
        pictures.picture(data)
    assert not isinstance(refusal.value, pictures.Redraw)


# --- where they wait ---------------------------------------------------------------------


def image() -> Image:
    return pictures.picture(png())


def test_a_box_takes_a_messages_worth_and_memory_has_an_end(monkeypatch: pytest.MonkeyPatch):
    known = boxes.Boxes()
    for _ in range(boxes.MOST):
        known.add(BOX, image())
    with pytest.raises(Refused, match="takes 8 pictures"):
        known.add(BOX, image())
    known.remove(BOX, known.of(BOX)[0].id)
    monkeypatch.setattr(boxes, "HEAVIEST", 8 * len(png()) - 1)
    with pytest.raises(Refused, match="at most"):
        known.add(BOX, image())
    with pytest.raises(Refused, match="Reload"):
        known.add("../../x", image())
    monkeypatch.setattr(boxes, "ALL", 7 * len(png()))
    known.add(OTHER, image())
    assert known.crowded(()) == BOX, "what waited longest"
    known.add("e" * 32, image())
    assert known.crowded((BOX,)) == OTHER, "no page has it"
    known.drop(BOX)
    assert known.crowded(()) == ""


def test_pictures_of_a_message_have_at_most_as_many_dots_as_an_engine_takes():
    known = boxes.Boxes()
    for _ in range(3):
        known.add(BOX, Image(png(), "image/png", (8000, 8000)))
    with pytest.raises(Refused, match="at most 200 million dots"):
        known.add(BOX, Image(png(), "image/png", (8000, 8000)))


def test_what_comes_while_a_message_is_kept_stays():
    known = boxes.Boxes()
    known.add(BOX, image())
    sent = [each.image for each in known.of(BOX)]
    known.add(BOX, image())
    known.sent(BOX, sent)
    assert len(known.of(BOX)) == 1


# --- from the page to the store, the model and back --------------------------------------


async def attached(app: App, *data: bytes, path: str = "/chat") -> Page:
    page = await app.open(path)
    await page.act("images.look", box=BOX)
    for each in data:
        answer = await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=each)
        assert answer.status == 204, answer.text
    return page


async def sent(page: Page, text: str) -> None:
    """Send it, and wait for the end of the reply."""
    page.html = ""
    await page.act("chat.send", conversation=page.client.subject, text=text)
    await page.until('chat-figures.*data-busy="false"')


def store_of(app: App) -> Store:
    return app.kernel.registry.values(STORE)[0]


def images(request: Request) -> list[bytes]:
    parts = (part for message in request.messages or () for part in message.parts)
    return [part.data for part in parts if isinstance(part, Image)]


async def parts(app: App, message: StoredMessage) -> list[Part]:
    """As they are when somebody reads them."""
    return [*await store_of(app).with_bytes(message.parts)]


async def test_a_picture_waits_is_sent_kept_shown_and_seen():
    model = Scripted("I see.", capabilities=SEES)
    async with running("images", model=model) as app:
        page = await attached(app, png(), JPEG)
        await page.until("images-waiting.*data-enclosed.*Picture 2, 20 by 10 dots")
        assert "cannot see" not in page.html
        await sent(page, "What is this?")
        assert images(model.asked[0]) == [png(), JPEG]
        asked = (await store_of(app).get(page.client.subject)).messages[0]
        assert asked.text == "What is this?"
        assert asked.parts[2] == Text("What is this?")
        src = f"/ext/images/message/{asked.id}/0"
        await page.until(f'src="{src}" width="4" height="3" loading="lazy"[^>]*alt="Picture 1')
        answer = await app.fetch(src)
        assert (answer.status, answer.body) == (200, png())
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        again = await app.open(f"/chat/{page.client.subject}")
        await again.until(re.escape(src))
        page.html = ""
        await page.act("images.look", box=BOX)
        assert "data-enclosed" not in page.html, "nothing waits any more"
        await sent(page, "And now?")
        assert len(images(model.asked[1])) == 2, "the model sees it again"


async def test_a_picture_needs_no_words_and_nothing_is_still_refused():
    model = Scripted("I see.", capabilities=SEES)
    async with running("images", model=model) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text=" ")
        await page.until("Write something first")
        page = await attached(app, png())
        await sent(page, "")
        (asked, _) = (await store_of(app).get(page.client.subject)).messages
        assert await parts(app, asked) == [image()]
        await page.act("chat.edit", message=asked.id, text="")
        await app.until(lambda: len(model.asked) == 2)


async def test_it_is_taken_off_and_comes_back_with_its_page():
    async with running("images", model=Scripted()) as app:
        page = await attached(app, png(), GIF)
        (first, second) = re.findall(
            r'li id="images-w(\w+)"', await page.until("images-row.*7 by 9")
        )[-2:]
        page.html = ""
        await page.act("images.remove", picture=first)
        html = await page.until("images-waiting.*Picture 1.*</div>")
        assert first not in html
        assert second in html
        page.close()
        again = await app.open("/chat")
        assert second not in again.html
        await again.act("images.look", box=BOX)
        await again.until(f"images-w{second}")
        stranger = await app.open("/chat")
        await stranger.act("images.look", box=OTHER)
        await stranger.act("images.remove", picture=second)
        assert second not in stranger.html
        assert (await app.fetch(f"/ext/images/waiting/{BOX}/{second}")).body == GIF


async def test_what_is_refused_is_said_to_the_page_and_costs_nothing():
    async with running("images", model=Scripted()) as app:
        page = await attached(app, png())
        for data, words in ((b"<svg/>", "no picture that can be sent"), (png(), "takes 8")):
            put = [
                await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=data) for _ in range(8)
            ]
            assert put[-1].status == (507 if words == "takes 8" else 422)
            assert words in put[-1].text
            await page.until(f"images-refused.*{words}")
        assert page.html.split("images-refused")[-1].count("no picture") == 1, "said once"
        await page.act("images.remove", picture="")
        await page.until('id="images-waiting"(?!.*images-refused)')
        too_large = png() + bytes(pictures.LARGEST)
        answer = await app.fetch(f"/ext/images/waiting/{OTHER}", "POST", body=too_large)
        assert "more than 7 MB" in answer.text
        await page.act("images.look", box="../x")
        await page.until("Reload it")
        answer = await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=png(), who="nobody")
        assert answer.status == 401


async def test_what_waits_goes_hours_after_its_page_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(desk, "KEPT", 0)
    async with running("images", model=Scripted()) as app:
        page = await attached(app, png())
        (id,) = set(re.findall(r'id="images-w([0-9a-f]{16})"', page.html))
        at = f"/ext/images/waiting/{BOX}/{id}"
        other = await attached(app)
        page.close()
        assert (await app.fetch(at)).status == 200, "another page has it"
        other.close()
        async with asyncio.timeout(5):
            while (await app.fetch(at)).status == 200:
                await asyncio.sleep(0.001)
        page = await app.open("/chat")
        await page.act("images.look", box=BOX, shown=True)
        await page.until("no longer has the pictures that waited here.*Choose them again")


async def test_a_page_is_told_that_its_pictures_are_gone_but_not_that_they_were_sent():
    async with running("images", "chat", model=Scripted("Yes.", capabilities=SEES)) as app:
        page = await attached(app, png())
        await sent(page, "Look")
        page.html = ""
        await page.act("images.look", box=BOX, shown=True)
        await page.until("images-waiting")
        assert "images-refused" not in page.html
        await app.toggle("images", on=False)
        await app.toggle("images", on=True)
        await page.act("images.look", box=BOX, shown=True)
        await page.until("no longer has the pictures that waited here.*Choose them again")


async def test_what_waited_longest_makes_room_and_its_page_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boxes, "ALL", 3 * len(png()))
    async with running("images", model=Scripted()) as app:
        await attached(app, png(), png())
        page = await app.open("/chat")
        await page.act("images.look", box=BOX)
        await page.until("Picture 2")
        page.html = ""
        for _ in range(2):
            await app.fetch(f"/ext/images/waiting/{OTHER}", "POST", body=png())
        html = await page.until("are gone: too many wait at other text boxes. Choose them again")
        assert "images-row" not in html


async def test_what_waits_in_an_incognito_conversation_goes_with_it():
    async with running("images", model=Scripted()) as app:
        page = await app.open("/chat")
        await page.act("chat.incognito")
        await app.until(lambda: bool(page.client.subject))
        await page.act("images.look", box=BOX)
        await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=png())
        await page.until("images-row")
        id = re.findall(r'id="images-w([0-9a-f]{16})"', page.html)[-1]
        await page.act("chat.delete", conversation=page.client.subject)
        assert (await app.fetch(f"/ext/images/waiting/{BOX}/{id}")).status == 404


async def test_only_pictures_are_served_as_such():
    async with running("images", "chat", model=Scripted()) as app:
        svg = b"<svg onload=alert(1)>"
        assert serving.shown(Image(svg, "image/png"), {}).status_code == 404
        parts = (Image(svg, "image/svg+xml"), Text("x"), Image(svg, "image/png"))
        asked = await store_of(app).add_user("", "x", parts=parts)
        for path in (
            f"{asked.id}/0",
            f"{asked.id}/1",
            f"{asked.id}/7",
            "nobody/0",
            f"{asked.id}/x",
            f"{asked.id}/0/whole",
            f"{asked.id}/1/whole",
            f"{asked.id}/2",
            f"{asked.id}/2/whole",
        ):
            assert (await app.fetch(f"/ext/images/message/{path}")).status == 404, path
        assert (await app.fetch(f"/ext/images/waiting/{BOX}/x")).status == 404
        page = await app.open(f"/chat/{asked.conversation}")
        assert "images-shown" not in page.html


async def test_what_is_incognito_is_on_no_disk():
    async with running("images", model=Scripted("Yes.", capabilities=SEES)) as app:
        page = await app.open("/chat")
        await page.act("chat.incognito")
        marked = png() + b"only-in-memory"
        page_box = page.client
        await app.until(lambda: bool(page_box.subject))
        await page.act("images.look", box=BOX)
        await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=marked)
        await sent(page, "Look")
        (asked, _) = (await store_of(app).get(page_box.subject)).messages
        answer = await app.fetch(f"/ext/images/message/{asked.id}/0")
        assert answer.body == marked
        assert answer.headers["cache-control"] == "no-store"
        needles = (b"only-in-memory", b"b25seS1pbi1tZW1vcnk")  # and as base64 has it
        files = [f.read_bytes() for f in app.kernel.data.rglob("*") if f.is_file()]
        assert not any(needle in data for needle in needles for data in files)
        await page.act("chat.delete", conversation=page_box.subject)
        assert (await app.fetch(f"/ext/images/message/{asked.id}/0")).status == 404


async def test_versions_branches_and_a_file_keep_it_and_a_deletion_hides_it():
    async with running("images", model=Scripted("Yes.", capabilities=SEES)) as app:
        page, store = await attached(app, png()), store_of(app)
        await sent(page, "Look")
        id = page.client.subject
        asked = (await store.get(id)).messages[0]
        page.html = ""
        await page.act("chat.edit", message=asked.id, text="Look closer")
        edited = (await store.get(id)).messages[0]
        assert await parts(app, edited) == [image(), Text("Look closer")]
        await page.until('data-busy="false"')
        await page.act("chat.branch", message=edited.id)
        (copy,) = (await store.get(page.client.subject)).messages
        assert await parts(app, copy) == [image(), Text("Look closer")]
        answer = await app.fetch(f"/ext/conversations/export/{id}/spindle")
        whole = msgspec.convert(answer.json()["conversation"], Whole)
        await page.act("chat.delete_message", message=edited.id)
        assert (await app.fetch(f"/ext/images/message/{edited.id}/0")).status == 404
        taken, new = await store.take(whole)
        assert new
        there = (await store.get(taken)).messages[0]
        assert await parts(app, there) == [image(), Text("Look closer")]


async def test_a_message_that_is_taken_back_gives_its_pictures_back():
    async with running("images", model=Scripted("Yes.", capabilities=SEES)) as app:
        page = await attached(app, png(), GIF)
        await sent(page, "Look")
        page.html = ""
        await page.act("chat.remove_last", conversation=page.client.subject)
        await page.until("images-row.*Picture 2, 7 by 9")
        await sent(page, "Look again")
        (asked, _) = (await store_of(app).get(page.client.subject)).messages
        assert await parts(app, asked) == [image(), pictures.picture(GIF), Text("Look again")]


async def test_pictures_that_come_back_to_a_full_box_are_shown_and_the_rest_is_named():
    model = Scripted("Yes.", capabilities=SEES)
    async with running("images", model=model) as app:
        page = await attached(app, *(png(shade=shade) for shade in range(5)))
        await sent(page, "Look")
        for shade in range(5, 10):
            await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=png(shade=shade))
        page.html = ""
        await page.act("chat.remove_last", conversation=page.client.subject)
        await page.until("Picture 8, 4 by 3.*Not all pictures of the message came back.*takes 8")


async def test_a_dummy_message_has_the_pictures_that_wait():
    async with running("images", model=Scripted("Yes.", capabilities=SEES)) as app:
        page = await attached(app, png())
        await page.act("chat.dummy", conversation="", text="Mine", role="user")
        at = page.client.subject
        await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=GIF)
        await page.act("chat.dummy", conversation=at, text="No", role="assistant")
        await page.act("chat.dummy", conversation=at, text="", role="user")
        (first, reply, last) = (await store_of(app).get(at)).messages
        assert await parts(app, first) == [image(), Text("Mine")]
        assert reply.text == "No"
        assert await parts(app, last) == [pictures.picture(GIF)]
        page.html = ""
        await page.act("images.look", box=BOX)
        assert "data-enclosed" not in page.html


async def test_what_is_brought_back_after_all_does_not_wait_any_more():
    async with running("images", model=Scripted("Yes.", capabilities=SEES)) as app:
        page = await attached(app, png())
        await sent(page, "Look")
        at = page.client.subject
        await page.act("chat.remove_last", conversation=at)
        undo = await page.until(r'chat.unremove_last", "message": "\w+')
        await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=GIF)
        await page.act("chat.unremove_last", message=undo.rpartition('"')[2])
        await sent(page, "And this?")
        (first, _, second, _) = (await store_of(app).get(at)).messages
        assert await parts(app, first) == [image(), Text("Look")]
        assert await parts(app, second) == [pictures.picture(GIF), Text("And this?")]


async def test_a_page_draws_anew_what_engines_cannot_read_and_says_what_it_made_smaller():
    async with running("images", model=Scripted()) as app:
        page, at = await attached(app), f"/ext/images/waiting/{BOX}"
        chooser = 'id="images-file" accept="image/*"'
        assert chooser in (await app.fetch("/chat")).text, "it offers what the page draws anew, too"
        for data in (WEBP, turned(6), png(9000, 9000), BMP):
            page.html = ""
            assert (await app.fetch(f"{at}?first", "POST", body=data)).status == 409
            assert "images-refused" not in page.html, "the page does it without a word"
            assert (await app.fetch(f"{at}?first&drawn=same", "POST", body=data)).status == 422
            await page.until("images-refused")
        page.html = ""
        assert (await app.fetch(f"{at}?first&drawn=smaller", "POST", body=png())).status == 204
        await page.until("was too large, and was made smaller: it has 4 by 3 dots and 0.0 MB now")
        assert "images-refused" not in page.html, "another choice was made"


async def test_a_page_shows_a_picture_in_its_own_size():
    async with running("images", model=Scripted("Yes.", capabilities=SEES)) as app:
        page = await attached(app, png(40, 30))
        await sent(page, "Look")
        asked = (await store_of(app).get(page.client.subject)).messages[0]
        src = f"/ext/images/message/{asked.id}/0"
        await page.until(f'<a href="{src}/whole"')
        answer = await app.fetch(f"{src}/whole")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert f'<img src="{src}" width="40" height="30"' in answer.text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert (await app.fetch("/ext/images/message/x/0/whole")).status == 404
        assert (await app.fetch(f"{src}/whole", who="nobody")).status == 401


async def test_a_picture_from_elsewhere_that_engines_cannot_read_is_named():
    model = Scripted("Yes.", capabilities=SEES)
    async with running("images", model=model) as app:
        store = store_of(app)
        asked = await store.add_user("", "Look", parts=(Image(WEBP, "image/webp"), Text("Look")))
        page = await app.open(f"/chat/{asked.conversation}")
        await page.until(f'Models cannot read.*data-encloses="/ext/images/message/{asked.id}/0"')
        turned_ = await store.add_user("", "", parts=(Image(turned(6), "image/jpeg"),))
        other = await app.open(f"/chat/{turned_.conversation}")
        await other.until(
            f'width="10" height="20".*lying on its.*"/ext/images/message/{turned_.id}/0"'
        )
        await sent(page, "And?")
        assert not images(model.asked[0])
        assert model.asked[0].messages
        assert seeing.UNREAD in model.asked[0].messages[0].text
        await page.until("engine cannot read: it was told so. Attach it anew")


# --- models ------------------------------------------------------------------------------


async def test_a_model_that_cannot_see_is_said_to_be_so_and_gets_the_words():
    blind = Scripted("No.")
    async with running("images", model=blind) as app:
        page = await attached(app, png())
        await page.until("scripted cannot see pictures")
        await sent(page, "What is this?")
        await page.until("it was told that there are some")
        assert not images(blind.asked[0])
        assert blind.asked[0].messages
        assert blind.asked[0].messages[-1].text == seeing.UNSEEN + "What is this?"
        asked = (await store_of(app).get(page.client.subject)).messages[0]
        whole = tuple(await parts(app, asked))
        assert whole[0] == image(), "it is kept"
        reply = app.run(Turn(messages=(Message("user", whole),)))
        assert not [delta async for delta in reply]
        assert reply.finish
        assert "scripted in scripted cannot do this: images." in reply.finish.error, (
            "a program is told"
        )


async def test_the_page_says_it_when_a_model_is_loaded():
    async with running("images") as app:
        page = await attached(app, png())
        assert "cannot see" not in page.html
        await app.load(Scripted())
        await page.until("scripted cannot see pictures")


async def test_the_newest_pictures_are_those_that_are_seen(monkeypatch: pytest.MonkeyPatch):
    shades = [Image(png(shade=shade), "image/png") for shade in range(18)]
    past = Past(
        tuple(Message("user", (each, Text("?"))) for each in shades[:-1]),
        Turn(messages=(Message("user", (shades[-1],)),)),
    )
    async with running("images") as app:
        see = seeing.Seeing(app.extension("images"))
        kept = (await see.newest(past)).messages
        assert kept[0].text == kept[1].text == seeing.OLDER + "?"
        assert [each.parts[0] for each in kept[2:]] == shades[2:-1]
        monkeypatch.setattr(seeing, "HEAVIEST", sum(len(each.data) for each in shades[-4:]))
        kept = (await see.newest(past)).messages
        assert [n for n, each in enumerate(kept) if each.text == "?"] == [14, 15, 16]
        monkeypatch.setattr(seeing, "HEAVIEST", 24 << 20)
        wide = [Image(png(shade=n), "image/png", (8000, 8000)) for n in range(4)]
        kept = (await see.newest(Past((Message("user", tuple(wide)),), Turn(messages=())))).messages
        assert [*kept[0].parts] == [Text(seeing.OLDER), *wide[1:]], "the oldest of it first"
        few = Past(past.messages[-2:], past.turn)
        assert await see.newest(few) is few


async def test_pictures_that_fill_the_context_go_with_their_messages_and_the_page_says_so():
    """A picture is guessed to have 256 tokens, and 975 fit beside the reply."""
    model = Scripted("Yes.", capabilities=SEES)
    model.info = msgspec.structs.replace(model.info, context_length=1300)
    async with running("images", model=model) as app:
        page = await attached(app, png(), png(shade=7))
        await sent(page, "One")
        await attached(app, png(shade=8), png(shade=9))
        await sent(page, "Two")
        assert len(images(model.asked[0])) == 2
        assert [m.text for m in model.asked[1].messages or ()] == ["Two"]
        assert images(model.asked[1]) == [png(shade=8), png(shade=9)]
        (*_, asked, reply) = (await store_of(app).get(page.client.subject)).messages
        assert reply.left_out == 2
        await page.until(f'id="chat-m{asked.id}-unseen"')


async def test_the_other_modes_hand_them_on():
    model = Scripted("I see.", capabilities=SEES)
    async with running("images", "chat_instruct", "roleplay", model=model) as app:
        app.kernel.characters.mkdir(exist_ok=True)
        (app.kernel.characters / "Bo.yaml").write_text("name: Bo\ndescription: A fox.\n", "utf-8")
        for mode in ("chat-instruct", "chat"):
            page = await attached(app, png())
            await page.act("chat.set_up", mode=mode, character="Bo")
            await sent(page, "Look")
            assert images(model.asked[-1]) == [png()], mode
            assert "Bo" in repr(model.asked[-1])
            await page.act("chat.new")
            page.close()


async def test_switched_off_the_conversation_goes_on_and_switched_on_they_are_back():
    async with running("images", "chat", model=Scripted("Yes.", capabilities=SEES)) as app:
        page = await attached(app, png())
        await sent(page, "Look")
        page.html = ""
        await app.toggle("images", on=False)
        html = await page.until('id="main".*Look')
        assert "images-shown" not in html
        assert "images-attach" not in html
        page.html = ""
        await app.toggle("images", on=True)
        await page.until("images-shown")
        await page.until("images-attach")


def test_nothing_of_it_is_left_out_of_the_page():
    """The limits that the page and the README name are those of the code."""
    words = (ROOT / "extensions/images/README.md").read_text("utf-8")
    assert f"up to {pictures.LARGEST >> 20} MB and {pictures.DOTS // 1_000_000} million" in words
    dots = f"{pictures.TOGETHER // 1_000_000} million"
    assert f"{boxes.MOST} pictures, {boxes.HEAVIEST >> 20} MB and {dots} dots" in words
    assert f"gets the {seeing.MOST} newest, up to {seeing.HEAVIEST >> 20} MB and {dots}" in words
