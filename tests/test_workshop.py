"""The Workshop in a browser: an archive is dropped, agreed to and taken back; a culprit found."""

import asyncio
import shutil
import zipfile
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

TOML = """id = "loom"
name = "Loom"
version = "{version}"
summary = "Weaves what a model says into lines of equal length."
api = 1
license = "MIT"
permissions = [{permissions}]
"""
CODE = """
from kernel.api import PANELS, Panel
async def setup(ext):
    ext.add(PANELS, Panel("status", "loom.html"))
"""
SPY = """@import url("{other}/style.css"); body {{ background: url("{other}/picture.png"); }}"""
SCRIPT = """
fetch("{other}/fetch").catch(() => 0); new Image().src = "{other}/image.png";
import("{other}/module.js").catch(() => 0);
"""


def packed(file: Path, version: str, permissions: str, other: str = "") -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "loom-main/extension.toml", TOML.format(version=version, permissions=permissions)
        )
        archive.writestr("loom-main/__init__.py", CODE)
        archive.writestr("loom-main/templates/loom.html", f'<b id="loom-is">Loom {version}</b>')
        if other:
            archive.writestr("loom-main/static/loom.css", SPY.format(other=other))
            archive.writestr("loom-main/static/loom.js", SCRIPT.format(other=other))
    return file


def broken(data: Path, count: int) -> None:
    """Extensions of the user, of which one makes the trouble."""
    for number in range(count):
        folder = data / "extensions" / f"helper_{number}"
        (folder / "templates").mkdir(parents=True)
        (folder / "extension.toml").write_text(
            f'id = "helper_{number}"\nname = "Helper {number}"\nversion = "1"\n'
            f'summary = "Helps."\napi = 1\n'
        )
        (folder / "__init__.py").write_text(CODE.replace("loom", "h"))
        trouble = '<b id="helper_trouble">Trouble</b>' if number == 3 else "<i>fine</i>"
        (folder / "templates" / "h.html").write_text(trouble)


async def shots(page: Page, name: str) -> None:
    """Wide and narrow, light and dark."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        for width, height in ((1280, 800), (390, 844)):
            await page.set_viewport_size({"width": width, "height": height})
            await asyncio.sleep(0.2)  # for the eye alone: what moves has come to rest
            await shoot(page, f"workshop-{name}-{width}-{scheme}")
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.emulate_media(color_scheme="light")


async def test_an_archive_is_dropped_agreed_to_updated_and_taken_back(
    tmp_path: Path, environments_dir: Path
):
    asked: list[str] = []

    async def canary(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode())
        writer.close()

    other = await asyncio.start_server(canary, "127.0.0.1", 0)
    place = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
    flags = ("--extensions", "settings", "workshop")
    first = packed(tmp_path / "loom.zip", "1.0", '"network:none"')
    running = live(tmp_path / "data", environments_dir, *flags)
    async with other, running as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        watched = Watched(page.context)
        await page.goto(server.link)
        await page.goto(f"{server.address}/settings/workshop")
        await expect(page.get_by_text("Drop an archive here")).to_be_visible()
        await shots(page, "1-empty")
        await page.set_input_files("#workshop-archive", first)
        await expect(page.locator("#workshop-review")).to_contain_text("Loom 1.0")
        assert await page.locator("#loom-is").count() == 0, "nothing runs before the consent"
        await shots(page, "2-review")
        await page.click("#workshop-agree")
        await expect(page.locator("#workshop-loom")).to_contain_text("Loom 1.0")
        await page.goto(f"{server.address}/settings")
        await page.click("#settings-loom-toggle")
        await expect(page.locator("#loom-is")).to_have_text("Loom 1.0")
        await page.goto(f"{server.address}/settings/workshop")

        packed(first, "2.0", '"network:hub.example.org"', place)  # F54, F56
        await page.set_input_files("#workshop-archive", first)
        review = page.locator("#workshop-review")
        await expect(review).to_contain_text("New in this version")
        await expect(review).to_contain_text("hub.example.org")
        await shots(page, "3-update")
        assert watched.complaints == []
        await page.click("#workshop-agree")
        await expect(page.locator("#loom-is")).to_have_text("Loom 2.0")
        await page.reload()
        await expect(page.locator("#loom-is")).to_have_text("Loom 2.0")
        async with asyncio.timeout(20):
            while "\n".join(watched.complaints).count("Content Security Policy") < 4:
                await asyncio.sleep(0.1)
        assert asked == [], "F56: nothing is asked of another origin"
        await shots(page, "4-installed")
        await page.click("#workshop-loom-back")
        await expect(page.locator("#loom-is")).to_have_text("Loom 1.0")
        await page.click("#workshop-loom-remove")
        await expect(page.locator("#workshop-loom-sure")).to_contain_text("settings and data stay")
        await shoot(page, "workshop-7-remove")
        await expect(page.locator("#workshop-loom")).to_have_count(1)
        await page.click("#workshop-loom-gone")
        await expect(page.get_by_text("Loom is removed.").first).to_be_visible()
        await expect(page.locator("#workshop-loom")).to_have_count(0)
        await expect(page.locator("#loom-is")).to_have_count(0)


async def test_the_culprit_is_found_from_the_status_line(tmp_path: Path, environments_dir: Path):
    data = tmp_path / "data"
    broken(data, 8)
    helpers = [f"helper_{number}" for number in range(8)]
    flags = ("--extensions", "settings", "workshop", *helpers)
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        watched = Watched(page.context)
        await page.goto(server.link)
        await page.goto(f"{server.address}/settings/workshop")
        trouble = page.locator("#helper_trouble")
        await expect(trouble).to_be_visible()
        await page.click("#workshop-begin")
        for step in range(1, 4):
            await expect(page.locator("#workshop-search")).to_contain_text(f"Step {step} of")
            await expect(page.locator("#workshop-status-yes")).to_be_enabled()
            # Half of those that are left run: up to helper 2, up to 5, and up to 3.
            wrong = step > 1
            await expect(trouble).to_have_count(int(wrong))
            if step == 2:
                await shots(page, "5-search")
                await page.reload()  # which loses nothing
            await page.click(f"#workshop-status-{'yes' if wrong else 'no'}")
        await expect(page.locator("#workshop-search")).to_contain_text("It is Helper 3")
        await expect(trouble).to_have_count(0)
        await shots(page, "6-found")
        await page.click("#workshop-off")
        await expect(page.locator("#workshop-search")).to_contain_text("Something is wrong?")
        assert "helper_3:\n    enabled: false" in (data / "settings.yaml").read_text()
        assert watched.complaints == []


async def test_a_saved_style_is_on_the_open_page(tmp_path: Path, environments_dir: Path):
    data = tmp_path / "data"
    folder = data / "extensions" / "loom"
    packed(tmp_path / "loom.zip", "1.0", "", "http://127.0.0.1:1")
    with zipfile.ZipFile(tmp_path / "loom.zip") as archive:
        archive.extractall(tmp_path)
    shutil.copytree(tmp_path / "loom-main", folder)
    style = folder / "static" / "loom.css"
    (folder / "static" / "loom.js").unlink()
    style.write_text("#loom-is { color: rgb(1, 2, 3); }")
    settings = "extensions:\n  workshop:\n    edit_and_see: true\n"
    (data / "settings.yaml").write_text(settings)
    flags = ("--extensions", "settings", "workshop", "loom")
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        watched = Watched(page.context)
        await page.goto(server.link)
        is_ = page.locator("#loom-is")
        await expect(is_).to_have_css("color", "rgb(1, 2, 3)")
        await page.evaluate("document.body.dataset.same = 'page'")
        style.write_text("#loom-is { color: rgb(4, 5, 6); }")
        await expect(is_).to_have_css("color", "rgb(4, 5, 6)")
        await expect(page.locator("link[data-style]")).to_have_count(1)
        assert await page.evaluate("document.body.dataset.same") == "page", "not loaded anew"
        assert watched.complaints == []
