"""Changing between the two engines while a model is loaded, with the real ones."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from extensions.llama_cpp import building, command_line
from extensions.llama_cpp.choosing import Choosing
from extensions.llama_cpp.honoured import HONOURED
from extensions.llama_cpp.prebuilt_sampling import HONOURED as PREBUILT
from kernel.api import LOADERS, Refused, Request, Sampling, Started
from kernel.environments import python_of
from kernel.testing import App, running
from kernel.yamltext import load
from tests.engines.real import STORIES, STORY

FILE = STORIES / "stories260K.gguf"


class Prepared:
    """Workers in environments that are there, whatever their stamps say."""

    def __init__(self, app: App, root: Path, *built: str) -> None:
        self._root, self.built, self.asked = root, {"", *built}, list[str]()
        app.kernel.workers.prepare = self.prepare
        app.kernel.workers.missing = self.missing

    async def prepare(self, manifest: Any, variant: str, report: Any, folder: Any = None) -> Path:
        self.asked.append(variant)
        return python_of(self._root / (f"xllamacpp-{variant}" if variant else "xllamacpp"))

    def missing(self, manifest: Any, variant: str) -> Any:
        return None if variant in self.built else "packages"


async def story(app: App) -> str:
    sampling = Sampling(temperature=0.0, max_new_tokens=24)
    reply = await app.kernel.slot().generate(Request(prompt="Once upon a time", sampling=sampling))
    return "".join([delta.text async for delta in reply])


@pytest.fixture
async def app(environments_dir: Path) -> AsyncIterator[App]:
    for name in ("xllamacpp", "xllamacpp-native"):
        if not python_of(environments_dir / name).is_file():
            pytest.skip(f"{name} does not exist; python -m tests builds it")
    async with running("settings", "llama_cpp", "engine_kit") as app:
        Prepared(app, environments_dir, "native")
        app.kernel.models.mkdir()
        shutil.copy(FILE, app.kernel.models / "story.gguf")
        await app.kernel.slot().load(app.kernel.models / "story.gguf", "llama_cpp")
        yield app


def state(app: App) -> bool:
    """Whether the native engine runs: only that one remembers states."""
    model = app.kernel.slot().model
    assert model
    return "state" in model.info.capabilities


def kept(app: App) -> dict[str, Any]:
    """What stands in the user's file."""
    file = app.kernel.settings.path
    tree = load(file.read_text()) if file.exists() else {}
    return tree.get("extensions", {}).get("llama_cpp", {})


@pytest.mark.engine
async def test_one_click_leads_there_and_back_and_the_story_stays(app: App):
    page = app.page("/settings/llama_cpp")
    await app.web.snapshot(page.client)
    assert state(app), "a native engine that is built runs it, although nobody chose"
    assert "variant" not in kept(app)
    assert await story(app) == STORY
    for variant, native in (("", False), ("native", True), ("", False)):
        await page.act("llama_cpp.use", variant=variant)
        assert state(app) == native
        assert kept(app)["variant"] == variant
        assert await story(app) == STORY


@pytest.mark.engine
async def test_an_engine_that_does_not_load_it_gives_the_place_back(app: App):
    choosing = Choosing(app.extension("llama_cpp"))
    await choosing.use("")
    path, model = app.kernel.models / "story.gguf", app.kernel.slot().model
    prepare = app.kernel.workers.prepare

    async def broken(manifest: Any, variant: str, report: Any, folder: Any = None) -> Path:
        return Path("/nowhere/python") if variant else await prepare(manifest, variant, report)

    app.kernel.workers.prepare = broken
    with pytest.raises(Refused, match=r"did not load.*The engine from before is in use again"):
        await choosing.use("native")
    assert kept(app)["variant"] == ""
    assert app.kernel.slot().model is not model
    assert app.kernel.slot().model
    assert await story(app) == STORY
    assert path.is_file()


@pytest.mark.engine
async def test_a_model_for_vectors_has_a_slot_of_its_own(app: App):
    app.kernel.flags["llama_cpp"] = {"embedding-model": "story.gguf"}
    app.kernel.starting = True
    assert await app.kernel.restart("llama_cpp")
    slot = app.kernel.slot("embedding")
    await app.until(lambda: slot.state.state == "loading")
    assert not slot.model, "it is only expected"
    app.kernel.bus.emit(Started())
    await app.until(lambda: slot.model is not None)
    assert slot.model
    vectors = await slot.model.call("embed", texts=["A dog"])
    assert len(vectors[0]) == 64
    assert await story(app) == STORY


@pytest.mark.engine
async def test_a_flag_reaches_the_engine_although_nobody_touched_the_form(app: App):
    app.kernel.flags["llama_cpp"] = {"ctx-size": 300}
    assert await app.kernel.restart("llama_cpp")
    await app.kernel.slot().load(app.kernel.models / "story.gguf", "llama_cpp")
    model = app.kernel.slot().model
    assert model
    assert model.info.context_length == 300


# --- without an engine ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "built", "used"),
    [
        (None, (), ""),
        (None, ("native",), "native"),
        (None, ("native-rpc", "native"), "native"),
        (None, ("native", "native-cuda"), "native-cuda"),
        ("", ("native",), ""),
        ("native-rpc", ("native", "native-rpc"), "native-rpc"),
        ("native-rpc", ("native",), "native-rpc"),
    ],
)
async def test_what_is_built_is_used_unless_another_was_chosen(
    written: str | None, built: tuple[str, ...], used: str
):
    settings = {} if written is None else {"llama_cpp": {"variant": written}}
    async with running("llama_cpp", "engine_kit", settings=settings) as app:
        Prepared(app, Path("nowhere"), *built)
        ext = app.extension("llama_cpp")
        await Choosing(ext).look()
        assert ext.variant == used
        if written is None:
            assert "variant" not in kept(app)


async def test_a_load_notices_what_another_server_built_and_what_is_gone():
    async with running("llama_cpp", "engine_kit") as app:
        prepared = Prepared(app, Path("nowhere"))
        ext = app.extension("llama_cpp")
        loader: Any = ext.get(LOADERS)[0]
        for built, samplers in (({"", "native"}, HONOURED), ({""}, PREBUILT)):
            prepared.built = built
            await loader.install(lambda fraction, note: None)
            assert prepared.asked[-1] == ext.variant == ("native" if "native" in built else "")
            assert loader.samplers == samplers


async def test_what_was_built_for_another_processor_is_not_taken_unasked():
    """Its first instruction may be one that this processor does not have."""
    async with running("llama_cpp", "engine_kit") as app:
        Prepared(app, Path("nowhere"), "native")
        ext = app.extension("llama_cpp")
        folder = building.folder_of(ext.environments, "native")
        folder.mkdir(parents=True)
        for made_for, used in (("a VAX", ""), (building.processor(), "native")):
            (folder / "processor").write_text(made_for)
            await Choosing(ext).look()
            assert ext.variant == used


async def test_the_command_builds_and_chooses(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    async with running("llama_cpp", "engine_kit") as app:
        Prepared(app, Path("nowhere"))

        def build(root: Path, variant: str, report: Any, cancelled: Any) -> Path:
            report(0.5, "Compiling, step 1 of 2")
            return root / variant

        monkeypatch.setattr(building, "build", build)
        await command_line.build(app.kernel, "vulkan")
        assert app.kernel.settings.variant("llama_cpp") == "native-vulkan"
        assert "Compiling, step 1 of 2" in capsys.readouterr().out
        with pytest.raises(Refused, match="no variant native-abacus"):
            await command_line.build(app.kernel, "abacus")

        def fails(*_: Any) -> Path:
            raise building.NotBuilt("There is no C++ compiler.")

        monkeypatch.setattr(building, "build", fails)
        with pytest.raises(Refused, match=r"no C\+\+ compiler"):
            await command_line.build(app.kernel)
