"""The Characters tab in a real browser: a card comes in, is changed, goes out, goes and returns."""

import asyncio
import base64
import json
import re
from pathlib import Path

import pytest
from playwright.async_api import WebSocketRoute, expect

from extensions.characters import png
from tests.live import Watched, asks_to_leave, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
CARD = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Maren",
        "description": "{{char}} draws maps of places that are not there yet.",
        "first_mes": "Hold this corner, {{user}}.",
        "tags": ["maps", "story"],
        "mystery": {"kept": True},
        "character_book": {
            "entries": [
                {"keys": ["compass"], "content": "It points at her.", "enabled": True,
                 "insertion_order": 1, "extensions": {"odd": 1}, "use_regex": False},
            ]
        },
    },
}  # fmt: skip
QUIET = "extensions:\n  models:\n    at_start: false\n"


def card() -> bytes:
    text = base64.b64encode(json.dumps(CARD).encode())
    return png.with_texts(png.drawn(20, 40, 60), {"ccv3": text})


def read(file: Path) -> dict:
    with file.open("rb") as opened:
        return json.loads(base64.b64decode(png.texts(opened)["ccv3"]))["data"]


async def test_a_card_comes_in_is_changed_goes_and_returns(tmp_path: Path, environments_dir: Path):
    data = tmp_path / "data"
    folder = data / "characters"
    folder.mkdir(parents=True)
    (data / "settings.yaml").write_text(QUIET)
    (folder / "Ann.yaml").write_text("name: Ann\ntags: [story]\n")
    (tmp_path / "maren.png").write_bytes(card())
    (tmp_path / "broken.png").write_bytes(card()[:90])
    async with live(data, environments_dir) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        connect = asyncio.Event()

        async def late(wire: WebSocketRoute) -> None:
            await connect.wait()
            wire.connect_to_server()

        await page.route_web_socket(re.compile("/ws"), late)
        await page.goto(f"{server.address}/characters")
        rows = page.locator("#characters-list > li")
        await expect(rows).to_have_count(1)

        # Two files at once: one comes in, the other is told, though the page is not connected yet.
        files = [tmp_path / "maren.png", tmp_path / "broken.png"]
        async with page.expect_response("**/characters/import"):
            await page.set_input_files("#characters-files", files)
        connect.set()
        await expect(page.locator(".toast.error")).to_contain_text("broken.png: This picture")
        await expect(rows).to_have_count(2)
        await expect(rows.nth(1).locator("img")).to_have_js_property("naturalWidth", 40)
        await shoot(page, "characters-1-gallery")

        # That the server takes none of them is told as well.
        await page.route("**/characters/import", lambda route: route.fulfill(status=503))
        await page.set_input_files("#characters-files", files)
        await expect(page.locator("#toast-untaken")).to_contain_text("did not take these files")
        await page.unroute("**/characters/import")
        assert "503" in watched.complaints.pop()

        # Search and tags.
        await page.fill("#characters-find", "mar")
        await expect(rows.filter(visible=True)).to_have_count(1)
        await page.fill("#characters-find", "")
        await page.click("[data-tag=maps]")
        await expect(rows.filter(visible=True)).to_have_count(1)
        await page.fill("#characters-find", "ann")
        await expect(page.locator("#characters-none")).to_be_visible()
        await page.fill("#characters-find", "")

        # A file that is dropped.
        text = (await page.evaluate_handle(
            "() => { const d = new DataTransfer();"
            " d.items.add(new File(['name: Kim\\ncontext: A fox.'], 'Kim.yaml')); return d; }"
        ))  # fmt: skip
        await page.dispatch_event("#characters-panel", "drop", {"dataTransfer": text})
        await expect(rows).to_have_count(3)

        # What is typed about a persona stays with it when one above goes, or it changes elsewhere.
        await page.click("#characters-persona-new > summary")
        for name in ("Ash", "Bea"):
            await page.fill("#characters-persona-name", name)
            await page.get_by_role("button", name="Add", exact=True).click()
            await expect(page.locator(f"#characters-persona-of-{name}")).to_be_visible()
            await expect(page.locator("#characters-persona-name")).to_have_value("")
            await expect(page.locator("#characters-persona-name")).to_be_focused()
        await page.click("#characters-persona-of-Bea > summary")
        await page.fill("#characters-persona-of-Bea-about", "Half a thought")
        await page.click("#characters-persona-of-Ash > summary")
        await page.click("#characters-persona-of-Ash-delete")
        await expect(page.locator("#characters-persona-of-Ash")).to_have_count(0)
        other = await context.new_page()
        await other.goto(page.url)
        await other.click("#characters-persona-of-Bea > summary")
        await other.fill("#characters-persona-of-Bea-name", "Beatrix")
        await other.fill("#characters-persona-of-Bea-about", "Old.")
        await other.locator("#characters-persona-of-Bea").get_by_text("Save").click()
        await expect(page.locator("#characters-persona-of-Bea summary")).to_contain_text("Beatrix")
        await other.close()
        await page.click("#characters-persona-of-Bea-default")
        await expect(page.locator("#characters-persona-of-Bea-no")).to_be_visible()
        about = page.locator("#characters-persona-of-Bea-about")
        await expect(about).to_have_value("Half a thought")
        bea = page.locator("#characters-persona-of-Bea")
        await bea.get_by_role("button", name="Save", exact=True).click()
        await expect(bea.get_by_role("status")).to_contain_text("changed elsewhere")
        await shoot(page, "persona-changed-elsewhere")
        (folder / "Zoe.yaml").write_text("name: Zoe\n")  # All is drawn anew, also the personas.
        await expect(rows).to_have_count(4)
        (folder / "Zoe.yaml").unlink()
        await expect(rows).to_have_count(3)
        await expect(about).to_have_value("Half a thought")
        await bea.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("#characters-persona-of-Bea summary span")).to_have_text(
            ["Bea", "default"]
        )
        assert "Half a thought" in (data / "users" / "Bea.yaml").read_text()
        assert not await asks_to_leave(page)
        await page.locator(".toast").get_by_label("Dismiss").last.click()

        # The editor: a field, a new entry of the lorebook, one more greeting.
        await rows.filter(has_text="Maren").locator("a").click()
        await expect(page.locator("h1")).to_have_text("Maren")
        await page.fill("#characters-f-scenario", "A harbour, at low tide.")
        await page.click("#characters-g-book > summary")
        await page.click("#characters-add-entry")
        await page.fill("#characters-entry-1-keys", "tide")
        await page.fill("#characters-entry-1-content", "The tide is late.")
        await page.click("#characters-g-greetings > summary")
        await page.locator("#characters-g-greetings [data-add]").first.click()
        await page.keyboard.type("Mind the ink.")
        await page.evaluate("document.body._htmx.ws.connection.socket.close()")
        for state in ("offline", "online"):
            await expect(page.locator("html")).to_have_attribute("data-ui-link", state)
        await expect(page.locator("#characters-entry-1-keys")).to_have_value("tide")
        assert await asks_to_leave(page)
        for id in ("duplicate", "start"):
            await page.click(f"#characters-{id}")
            await expect(page.locator(".toast").last).to_contain_text("is not saved. Save it first")
            await page.locator(".toast").get_by_label("Dismiss").click()
            await expect(page.locator(".toast")).to_have_count(0)
        await page.fill("#characters-f-name", "")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator(".toast").last).to_contain_text("A character needs a name.")
        assert await asks_to_leave(page)
        await page.fill("#characters-f-name", "Maren")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("#characters-stamp")).to_have_text("Saved.")
        assert not await asks_to_leave(page)
        await page.fill("#characters-f-personality", "exact")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("#characters-f-personality")).to_have_value("exact")
        await expect(page.locator("#characters-stamp")).to_have_text("Saved.")
        await shoot(page, "characters-2-editor")

        # What goes out is all of it.
        await page.click("#characters-export")
        async with page.expect_download() as waiting:
            await page.get_by_role("link", name="PNG card").click()
        out = await (await waiting.value).path()
        said = read(out)
        assert said["scenario"] == "A harbour, at low tide."
        assert said["mystery"] == {"kept": True}
        assert said["alternate_greetings"] == ["Mind the ink."]
        assert [entry["content"] for entry in said["character_book"]["entries"]] == [
            "It points at her.",
            "The tide is late.",
        ]
        assert said["character_book"]["entries"][0]["extensions"] == {"odd": 1}
        assert said["personality"] == "exact"
        await page.keyboard.press("Escape")

        # Deleted, and back.
        await page.click("#characters-delete")
        await expect(rows).to_have_count(2)
        assert not (folder / "Maren.png").exists()
        await page.locator(".toast").get_by_role("button", name="Undo").click()
        await expect(rows).to_have_count(3)
        assert read(folder / "Maren.png")["scenario"] == "A harbour, at low tide."

        # A phone holds all of it.
        await page.set_viewport_size({"width": 390, "height": 844})
        for path in ("/characters", "/characters/Maren"):
            await page.goto(server.address + path)
            await page.evaluate(
                "() => document.querySelectorAll('details').forEach(d => d.open = true)"
            )
            assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await shoot(page, "characters-3-phone")
        assert watched.complaints == []

        # A file that cannot be sent is told: to the gallery, to a message, to the models.
        places = (
            ("/characters", "#characters-files"),
            ("/chat", "#images-file"),
            ("/models", "#models-choose-files"),
        )
        await page.route(re.compile("/ext/.*(import|images|uploads)"), lambda route: route.abort())
        for path, field in places:
            await page.goto(server.address + path)
            await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
            await page.set_input_files(field, tmp_path / "maren.png")
            await expect(page.locator(".toast.error").last).to_contain_text("did not arrive")
