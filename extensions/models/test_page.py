"""The Model page: what it lists, and what other extensions put there."""

import asyncio
import importlib
import os
import re
import struct
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from extensions.models.api import MODELS
from kernel.api import LOADERS, PANELS, Loader, Phase
from kernel.testing import App, Page, Scripted, ScriptedLoader, running
from tests.ggufs import a_gguf

from .test_loading import Engine, Second, having, with_models

HEAD = b'{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}'
SAFETENSORS = struct.pack("<Q", len(HEAD)) + HEAD + bytes(4)

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


def aged(app: App, name: str, data: bytes) -> None:
    """A file that was written long ago."""
    put(app, name)
    (app.kernel.models / name).write_bytes(data)
    os.utime(app.kernel.models / name, (1, 1))


async def mistyped(app: App, loader: str) -> Page:
    """A model's page on which one option was typed well and another was not."""
    await with_models(app, "one.gguf")
    (app.kernel.models / "one.gguf").write_bytes(a_gguf())
    page = await app.open("/models/file/one.gguf")
    about = {"loader": loader, "context_length": "77", "threads": "700"}
    await page.act("models.load", file="one.gguf", **about)
    await page.until('value="77".*from 0 to 64')
    page.html = ""
    return page


async def test_what_is_typed_and_wrong_stays_when_an_extension_comes(tmp_path: Path):
    async with running("models", metal(tmp_path), model=(model := Scripted("Hi."))) as app:
        await app.kernel.changes.toggle("metal", False)
        having(app, Engine(model))
        page = await mistyped(app, "llama_cpp")
        await app.kernel.changes.toggle("metal", True)
        await page.until("Beside one.gguf")
        section = page.html[page.html.rindex('id="models-section"') :]
        assert re.search('value="77".*from 0 to 64', section, re.DOTALL)


async def test_what_is_typed_for_one_loader_is_not_said_of_another():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, Engine(model))
        second = cast(Loader, Second(model))
        rules: dict[str, Any] = {"phase": Phase.EARLY, "rank": 0, "rewrites": False}
        _, take_back = app.kernel.registry.add(LOADERS, second, "kernel", **rules)
        page = await mistyped(app, "llamacpp_hf")
        take_back()
        await page.until('id="models-here".*models-page-0-llama_cpp-threads')
        html = page.html[page.html.rindex('id="models-here"') :]
        assert 'value="77"' not in html
        assert "from 0 to 64" not in html


async def test_what_cannot_be_loaded_says_why_and_is_not_in_the_picker():
    async with running("models", "llama_cpp") as app:
        aged(app, "good.gguf", a_gguf({"general.name": "<b>Good</b>"}))
        aged(app, "cut.gguf", a_gguf()[:-9])
        aged(app, "turbo-exl2/config.json", b"{}")
        aged(app, "turbo-exl2/model.safetensors", SAFETENSORS)
        aged(app, "plain/config.json", b"{}")
        aged(app, "plain/model.safetensors", SAFETENSORS)
        page = await app.open("/models")
        await page.until("Not to be loaded as they are.*cut.gguf.*ends 9 bytes after the file does")
        await page.until("turbo-exl2.*It is for ExLlamav2_HF, which Spindle does not have")
        await page.until("plain<.*Transformers takes it, and is switched off. Switch it on")
        assert "<b>Good</b>" not in page.html
        page.html = ""
        await page.act("models.choose", file="good.gguf")
        await page.until("models-load")
        assert "good.gguf" in picker(page)
        assert "cut.gguf" not in picker(page)
        page = await app.open("/models/file/turbo-exl2")
        await page.until("It is quantized with EXL2.*>For<.*ExLlamav2_HF, ExLlamav2")
        assert "models-page-load" not in page.html
        page = await app.open("/models/file/good.gguf")
        await page.until("&lt;b&gt;Good&lt;/b&gt;.*models-page-load")


@pytest.mark.parametrize("trusts", [False, True])
async def test_a_model_with_programs_of_its_own_says_so_before_a_load(trusts: bool):
    async with running("models", "transformers") as app:
        app.kernel.flags["transformers"] = {"trust-remote-code": trusts}
        await app.kernel.restart("transformers")
        aged(app, "own/config.json", b'{"auto_map": {"AutoModel": "m.M"}}')
        aged(app, "own/model.safetensors", SAFETENSORS)
        page = await app.open("/models")
        if trusts:
            await page.until('id="models-found".*own</a>')
            assert "programs of its own" not in page.html
        else:
            await page.until("Not to be.*own brings programs of its own .config.json: auto_map")
        page = await app.open("/models/file/own")
        await page.until("models-page-load" if trusts else "start Spindle with --trust-remote-code")
        assert ("models-page-load" in page.html) == trusts


def picker(page: Page) -> str:
    """The picker as it was sent last."""
    return page.html[page.html.rindex('<dialog id="models-picker"') :].partition("</dialog>")[0]


async def test_a_page_waits_for_no_header(monkeypatch: pytest.MonkeyPatch):
    go_on = threading.Event()
    async with running("models", model=Scripted("Hi.")) as app:
        kind = importlib.import_module("extensions.models.headers").Headers
        before = kind.read

        def slow(self: object, path: Path) -> object:
            go_on.wait(60)
            return before(self, path)

        monkeypatch.setattr(kind, "read", slow)
        aged(app, "one.gguf", a_gguf({"general.name": "Slow"}))
        page = await app.open("/models/file/one.gguf")
        await page.until("<h1>one.gguf</h1>.*Reading what it says of itself")
        go_on.set()
        await page.until("Slow")
        await page.until("llama")


async def test_an_adapter_is_no_model_for_programs():
    async with running("models", "llama_cpp") as app:
        aged(app, "model.gguf", a_gguf())
        aged(app, "style.gguf", a_gguf({"general.type": "adapter"}))
        [models] = app.kernel.registry.values(MODELS)
        await models.look()
        await models.describe("style.gguf")
        assert [file.name for file in models.files] == ["model.gguf"]
        assert {file.name for file in models.all} == {"model.gguf", "style.gguf"}


class Both(ScriptedLoader):
    """Takes what it is asked about."""

    def __init__(self, id: str) -> None:
        super().__init__(Scripted("Hi."))
        self.id = self.label = id


async def test_the_loader_that_the_files_are_for_comes_first():
    async with running("models") as app:
        for id in ("other", "llamacpp_hf", "llama_cpp"):
            add = app.kernel.registry.add
            loader = cast(Loader, Both(id))
            add(LOADERS, loader, "kernel", phase=Phase.NORMAL, rank=0, rewrites=False)
        aged(app, "m/model.gguf", a_gguf())
        aged(app, "m/tokenizer.json", b"{}")
        page = await app.open("/models/file/m/model.gguf")
        await page.until(
            "<dd>llama.cpp <.*<dd>llamacpp_HF <.*<dd>other <.*The loader says so itself"
        )
        await page.until('<option value="llama_cpp" selected')
        await app.open("/models/file/m")
        [models] = app.kernel.registry.values(MODELS)
        await models.load("m/model.gguf")
        assert app.kernel.slot().state.name == "model"


async def test_thousands_of_models_are_found_by_words_and_shown_by_hundreds():
    async with running("models", "llama_cpp") as app:
        for number in range(450):
            aged(app, f"{number // 100}/llama-{number:04}.gguf", a_gguf())
        page = await app.open("/models")
        await page.until(r"Show more \(350 left\)")
        page.html = ""
        await page.act("models.search", words="", more=True)
        await page.until(r"Show more \(250 left\)")
        page.html = ""
        await page.act("models.search", words="LLAMA 044")
        found = await page.until('id="models-found".*</div>')
        assert len(set(re.findall(r"llama-\d+\.gguf", found))) == 11
        await page.act("models.search", words="nothing like it")
        await page.until("No model has all of that")
        page.html = ""
        await page.act("models.choose", file="4/llama-0449.gguf")
        await page.until('250 more: <a href="/models">')
        assert picker(page).count('class="file"') == 200


async def test_a_list_follows_the_folder():
    async with running("models", "llama_cpp") as app:
        page = await app.open("/models")
        await page.until("There is no model here yet")
        put(app, "new/one.gguf")
        await page.until('href="/models/file/new/one.gguf"')
        page.html = ""
        (app.kernel.models / "new" / "one.gguf").unlink()
        await page.until("There is no model here yet")
        put(app, "new/link.gguf")
        (app.kernel.models / "far.gguf").symlink_to(app.kernel.models / "new" / "link.gguf")
        await page.until('href="/models/file/far.gguf"')


async def test_the_page_of_a_model_follows_its_file_away_and_back():
    async with running("models", "llama_cpp") as app:
        aged(app, "other.gguf", a_gguf())
        aged(app, "vanish.gguf", a_gguf())
        page = await app.open("/models/file/vanish.gguf")
        await page.until("models-page-load")
        page.html = ""
        (app.kernel.models / "vanish.gguf").unlink()
        await page.act("models.choose", file="other.gguf")  # That looks, and tells this page alone.
        # A form that was under way before the file went may still come: the last word counts.
        last = 'id="models-section"(?!.*models-page-load)'
        await page.until(f"{last}.*There is no such model below models/ any more")
        for loader in ("llama_cpp", ""):
            await page.act("models.load", file="vanish.gguf", loader=loader)
        await page.until("vanish.gguf is not below .* or not any more. Choose another model")
        assert "switched on" not in page.html[page.html.index('class="toast') :]
        page.html = ""
        aged(app, "vanish.gguf", a_gguf())
        await page.until('id="models-section".*<h1>vanish.gguf</h1>.*models-page-load')


async def test_a_model_that_was_away_while_it_was_read_is_read_when_it_is_back():
    async with running("models", "llama_cpp") as app:
        aged(app, "vanish.gguf", a_gguf())
        [models] = app.kernel.registry.values(MODELS)
        await models.look()
        (app.kernel.models / "vanish.gguf").unlink()
        [known] = [file for file in models.files if file.name == "vanish.gguf"]
        described = await models.describe("vanish.gguf")
        assert not described or not described.trouble
        aged(app, "vanish.gguf", a_gguf())
        described = await models.describe("vanish.gguf")
        assert described
        assert described.architecture == "llama"
        [now] = [file for file in models.files if file.name == "vanish.gguf"]
        assert now.stamp == known.stamp


async def test_a_model_that_goes_while_its_page_is_drawn_is_not_shown():
    async with running("models", "llama_cpp") as app:
        aged(app, "vanish.gguf", a_gguf())
        page = await app.open("/models/file/vanish.gguf")
        await page.until("models-page-load")
        handle: Any = app.extension("models")
        panels, drawing, gate = handle.panels, asyncio.Event(), asyncio.Event()

        async def slow(region: Any, *more: Any) -> Any:
            if region == "model_file":
                drawing.set()
                await gate.wait()
            return await panels(region, *more)

        handle.panels = slow
        coming = asyncio.create_task(app.web.snapshot(page.client))
        await drawing.wait()
        (app.kernel.models / "vanish.gguf").unlink()
        [models] = app.kernel.registry.values(MODELS)
        await models.look()
        page.html = ""
        gate.set()
        await coming
        shown = page.html[page.html.index('<main id="main"') :]
        assert "There is no such model below" in shown


async def test_without_a_model_the_picker_says_where_they_come_from():
    async with running("models", "downloader") as app:
        page = await app.open("/")
        await page.until('no model files yet. <a href="/models/downloader">Download one</a>')
        await app.kernel.changes.toggle("downloader", False)
        page = await app.open("/models")
        await page.until('no model files yet. <a href="/models">The Model page</a> takes them.')
        assert f"<code>{app.kernel.loras}</code>" in page.html, "where adapters go"
