"""The Model page: what it lists, and what other extensions put there."""

from pathlib import Path

from kernel.api import PANELS
from kernel.testing import App, Page, Scripted, running

HARDWARE = '''"""Stands on the Model page."""

from kernel.api import PANELS, Extension, Panel


async def setup(ext: Extension) -> None:
    async def section(client, subject):
        return {"words": f"The section of <{subject}>"}

    async def card(client, subject):
        return {"words": "Above the list"}

    async def under(client, subject):
        return {"words": "Below the list"}

    async def beside(client, subject):
        return {"words": f"Beside {subject}"}

    ext.add(PANELS, Panel("models", "words.html", section, order=5, title="Hardware"))
    ext.add(PANELS, Panel("models", "words.html", card, order=-1))
    ext.add(PANELS, Panel("models", "words.html", under, order=1))
    ext.add(PANELS, Panel("model_file", "words.html", beside))
'''


def metal(root: Path) -> Path:
    """An extension that brings something for every place of the page."""
    folder = root / "metal"
    (folder / "templates").mkdir(parents=True)
    (folder / "extension.toml").write_text(
        'id = "metal"\nname = "Metal"\nversion = "1"\nsummary = "Metal."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(HARDWARE)
    (folder / "templates" / "words.html").write_text('<p class="metal">{{ words }}</p>\n')
    return folder


def put(app: App, *names: str) -> None:
    for name in names:
        path = app.kernel.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10)


def sections(page: Page) -> str:
    """The list of sections as it was sent last."""
    return page.html[page.html.rindex('id="models-sections"') :].partition("</nav>")[0]


async def test_each_model_has_its_row_and_its_place(tmp_path: Path):
    async with running("models", model=Scripted("Hi.")) as app:
        put(app, "one.gguf", "deep/two & 3.gguf")
        page = await app.open("/models")
        await page.until("<h1>Models</h1>")
        await page.until('href="/models/file/deep/two%20%26%203.gguf">deep/two &amp; 3.gguf</a>')
        for address in ("deep/two & 3.gguf", "deep/two%20%26%203.gguf"):
            page = await app.open(f"/models/file/{address}")
            await page.until("<h1>deep/two &amp; 3.gguf</h1>")
        page = await app.open("/models/file/gone.gguf")
        await page.until("There is no such model")


async def test_other_extensions_stand_in_sections_around_the_list_and_beside_a_model(
    tmp_path: Path,
):
    async with running("models", metal(tmp_path), model=Scripted("Hi.")) as app:
        put(app, "one.gguf")
        page = await app.open("/models")
        await page.until('<a href="/models/metal">Hardware</a>')
        await page.until("Above the list.*models-found.*Below the list")
        assert "The section of" not in page.html
        page = await app.open("/models/metal/cards/1")
        await page.until("The section of &lt;cards/1&gt;")
        assert "Above the list" not in page.html
        page = await app.open("/models/file/one.gguf")
        await page.until("Beside one.gguf")


async def test_a_section_comes_and_goes_with_its_extension(tmp_path: Path):
    async with running("models", metal(tmp_path), model=Scripted("Hi.")) as app:
        page = await app.open("/models/metal")
        await page.until("The section of")
        await app.kernel.changes.toggle("metal", False)
        await page.until("There is no such section")
        await app.until(lambda: 'href="/models/metal"' not in sections(page))
        page.html = ""
        await app.kernel.changes.toggle("metal", True)
        await page.until('href="/models/metal"')
        await page.until("The section of")
        assert any(panel.region == "models" for panel in app.kernel.registry.values(PANELS))
