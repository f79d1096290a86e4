"""Pictures of the user's own in a real browser: chosen, pasted, dropped, sent, and there again."""

import base64
import struct
import zlib
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from extensions.conversations.store import Store
from extensions.images import pictures, seeing
from extensions.llama_cpp import prebuilt_images as engine
from kernel.api import Image, Text
from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(280)]
GIVE = """
([selector, kind, bytes, type, text]) => {
  const data = new DataTransfer(), file = new File([new Uint8Array(bytes)], 'picture', {type});
  data.items.add(file);
  if (text) data.setData('text/plain', text);
  const how = {bubbles: true, cancelable: true};
  const event = kind === 'paste' ? new ClipboardEvent(kind, {...how, clipboardData: data})
    : new DragEvent(kind, {...how, dataTransfer: data});
  document.querySelector(selector).dispatchEvent(event);
}
"""
"""A file that is pasted or dropped."""
DRAW = """
async ([type, width, height, noise]) => {
  const canvas = Object.assign(document.createElement('canvas'), {width, height});
  const pen = canvas.getContext('2d');
  pen.fillRect(0, 0, width / 2, height);
  if (noise) {
    const dots = pen.getImageData(0, 0, width, height), words = new Uint32Array(dots.data.buffer);
    for (let n = 0, x = 1; n < words.length; n++) {
      x = Math.imul(x, 1664525) + 1013904223;
      words[n] = x | 0xff000000;
    }
    pen.putImageData(dots, 0, 0);
  }
  const blob = await new Promise(done => canvas.toBlob(done, type, 1));
  const reader = new FileReader();
  await new Promise(done => { reader.onload = done; reader.readAsDataURL(blob); });
  return reader.result.split(',')[1];
}
"""
"""A picture of the browser's own, as base64: black at its left, or noise that stays large."""
PNG = "image/png"
WEBP = bytes.fromhex(
    "52494646 1a000000 57454250 5650384c 0d000000 2f000000 10071011 118888fe 0700".replace(" ", "")
)
"""One dot, with nothing in it."""
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, color: tuple[int, int, int]) -> bytes:
    rows = (b"\0" + bytes(color) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


async def drawn(page: Page, type: str, width: int, height: int, noise: bool = False) -> bytes:
    return base64.b64decode(await page.evaluate(DRAW, [type, width, height, noise]))


def lying(jpeg: bytes) -> bytes:
    """The same from a camera that was held on its side: whoever shows it turns it clockwise."""
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x112, 3, 1, 6, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


async def choose(page: Page, *pictures: bytes, kind: str = "image/png") -> None:
    """With the button, by the keyboard."""
    files = [{"name": "p", "mimeType": kind, "buffer": each} for each in pictures]
    async with page.expect_file_chooser() as chooser:
        await page.focus("#images-attach")
        await page.keyboard.press("Enter")
    await (await chooser.value).set_files(files)  # type: ignore[arg-type]


async def taken_in(data: Path) -> str:
    """A conversation with a picture that engines cannot read."""
    data.mkdir()  # noqa: ASYNC240  a test may wait for its disk
    async with Store.open(data / "chats.sqlite3") as store:
        parts = (Image(WEBP, "image/webp"), Text("Look"))
        return (await store.add_user("", "Look", parts=parts)).conversation


async def loaded(page: Page, selector: str, width: int) -> None:
    """The picture arrived, and is the one that was meant."""
    await page.wait_for_function(
        "([s, w]) => [...document.querySelectorAll(s)].some(i => i.naturalWidth === w)",
        arg=[selector, width],
    )


def test_a_page_takes_nothing_that_the_engine_then_refuses():
    assert (pictures.DOTS, pictures.SIDE) == (engine.DOTS, engine.SIDE)
    assert (pictures.TOGETHER, seeing.MOST) == (engine.TOGETHER, engine.MOST)
    assert pictures.LARGEST <= engine.LARGEST


async def test_pictures_are_attached_sent_and_there_again(tmp_path: Path, environments_dir: Path):
    foreign = await taken_in(tmp_path / "data")
    async with live(tmp_path / "data", environments_dir) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)

        # One from elsewhere that engines cannot read waits as PNG, by its button.
        await page.goto(f"{server.address}/chat/{foreign}")
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await page.get_by_role("button", name="Attach it anew").click()
        waiting = page.locator(".images-row img")
        await expect(waiting).to_have_count(1)
        src = await waiting.get_attribute("src")
        assert (await page.request.get(f"{server.address}{src}")).headers["content-type"] == PNG
        await page.get_by_role("button", name="Remove picture 1").click()
        await expect(waiting).to_have_count(0)

        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 800})
            await page.goto(f"{server.address}/chat")
            row, box = page.locator(".images-row > li"), page.locator("#chat-text")
            await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")

            # The button (two files), a paste, a drop; a paste of words stays one.
            await choose(page, png(64, 48, (190, 60, 40)), png(300, 900, (40, 90, 160)))
            await expect(row).to_have_count(2)
            give = [[*png(90, 60, (60, 140, 80))], "image/png"]
            await page.evaluate(GIVE, ["#chat-text", "paste", *give, "words"])
            await page.evaluate(GIVE, ["#chat-text", "paste", *give, ""])
            await expect(row).to_have_count(3)
            webp = [*await drawn(page, "image/webp", 60, 40)]
            await page.evaluate(GIVE, ["chat-log", "drop", webp, "image/webp", ""])
            await expect(row).to_have_count(4)
            await loaded(page, ".images-row img", 60)
            await expect(page.locator("#images-blind")).to_contain_text("cannot see pictures")
            svg = [[*b"<svg xmlns='http://www.w3.org/2000/svg'/>"], "image/svg+xml", ""]
            await page.evaluate(GIVE, ["chat-log", "drop", *svg])
            refused = page.locator("#images-refused")
            await expect(refused).to_contain_text("Choose a PNG, JPEG, WebP")
            await expect(page.locator(".toast")).to_have_count(0)
            await box.fill("What is on them?")
            await shoot(page, f"pictures-waiting-{width}")
            assert not await page.evaluate(WIDE)

            # A photo that lies on its side is upright; one that is too large becomes smaller.
            if width == 390:
                await choose(
                    page, lying(await drawn(page, "image/jpeg", 64, 32)), kind="image/jpeg"
                )
                await expect(row).to_have_count(5)
                await expect(refused).to_have_count(0)
                await loaded(page, ".images-row img", 32)
                large = await drawn(page, "image/jpeg", 2000, 1500, noise=True)
                assert len(large) > 7 << 20
                await choose(page, large, kind="image/jpeg")
                await expect(row).to_have_count(6)
                await expect(page.locator(".images-note")).to_contain_text("was made smaller")
                await shoot(page, f"pictures-smaller-{width}")
                assert not await page.evaluate(WIDE)
                for number in (6, 5):
                    await page.get_by_role("button", name=f"Remove picture {number}").click()
                    await expect(row).to_have_count(number - 1)

            # One is taken off by the keyboard; a reload keeps the rest, as it keeps the words.
            await page.get_by_role("button", name="Remove picture 1").focus()
            await page.keyboard.press("Enter")
            await expect(row).to_have_count(3)
            await expect(box).to_be_focused()
            await page.reload()
            await expect(row).to_have_count(3)
            await expect(box).to_have_value("What is on them?")

            await page.locator("#chat-submit").click()
            shown = page.locator("article.chat-user .images-open > img")
            await expect(shown).to_have_count(3)
            await expect(row).to_have_count(0)
            await expect(box).to_have_value("")
            await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
            await expect(page.locator("article.chat-reply .chat-body")).not_to_be_empty()
            await page.reload()
            await expect(shown).to_have_count(3)
            await page.locator("chat-log").evaluate("e => e.scrollTop = 0")
            await loaded(page, ".images-open > img", 300)
            tall = await shown.first.bounding_box()
            assert tall
            assert tall["height"] <= 290
            await shoot(page, f"pictures-shown-{width}")
            assert not await page.evaluate(WIDE)

            # A click opens one large; a message may be a picture alone, sent by Enter.
            await page.get_by_role("button", name="Picture 1 of this message").first.click()
            large = page.get_by_role("dialog", name="Picture 1, large").first
            await expect(large).to_be_visible()
            await loaded(page, ".images-large img", 300)
            await shoot(page, f"pictures-large-{width}")
            async with context.expect_page() as opening:
                await large.get_by_role("link", name="In its own size").click()
            alone = await opening.value
            await loaded(alone, ".images-whole img", 300)
            box_of = await alone.locator("img").bounding_box()
            assert box_of
            assert (box_of["width"], box_of["height"]) == (300, 900)
            await shoot(alone, f"pictures-whole-{width}")
            await alone.close()
            await page.keyboard.press("Escape")
            await expect(large).to_be_hidden()
            await choose(page, png(32, 32, (0, 0, 0)))
            await expect(row).to_have_count(1)
            await box.press("Enter")
            await expect(shown).to_have_count(4)
            await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        complaints = [
            each for each in watched.complaints if "422" not in each and "409" not in each
        ]
        assert not complaints
