"""How a model is loaded: what is saved, what the command line says, and what the page shows."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pytest

from extensions.models.advice import advice
from extensions.models.api import BESIDE, MODELS, Beside, ModelFile, Models
from extensions.models.choosing import Choosing
from extensions.models.loading import GUIDE
from extensions.models.saved import OURS, THEIRS
from kernel.api import (
    LOADERS,
    Field,
    Loader,
    LoadFailed,
    Meta,
    Phase,
    Refused,
    Started,
    Struct,
    WorkerDied,
)
from kernel.testing import App, Page, Scripted, ScriptedLoader, running
from tests.ggufs import a_gguf


class Options(Struct, frozen=True):
    """What most loaders have."""

    context_length: Annotated[int, Meta(ge=0, le=100_000, description="Tokens.")] = 0
    cache_type: Annotated[Literal["f16", "q8_0"], Meta(description="How it is kept.")] = "f16"
    threads: Annotated[int, Meta(ge=0, le=64, description="Threads.")] = 0

    @staticmethod
    def modern(values: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Old names: n_ctx is context_length, and there is no n_gqa any more."""
        good, bad = dict[str, Any](), dict[str, str]()
        for name, value in values.items():
            if name == "n_gqa":
                bad[name] = "The file says it itself. Leave n_gqa out."
            elif name == "n_ctx":
                good.setdefault("context_length", value)
            else:
                good[name] = value
        return good, bad


class Engine(ScriptedLoader):
    """Keeps how it was asked; fails, prints and says as a test wants."""

    id, label = "llama_cpp", "llama.cpp"
    Options = Options

    def __init__(self, model: Scripted) -> None:
        super().__init__(model)
        self.asked: list[Any] = []
        self.given: dict[str, Any] = {}
        self.fails: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.notes: tuple[str, ...] = ()
        self.lines: tuple[str, ...] = ()

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf"

    async def open(self, path: Path, options: Any, report: Any) -> Scripted:
        self.asked.append(options)
        report.lines = lambda: self.lines
        for note in self.notes:
            report(0.5, note)
        if self.gate:
            await self.gate.wait()
        if self.fails:
            raise self.fails
        model = await super().open(path, options, report)
        info = model.info.__class__(path.stem, loader=self.label, path=str(path))
        model.info = info
        return model


class Second(Engine):
    """Takes the same files, in another way."""

    id, label = "llamacpp_hf", "llamacpp_HF"


def having(app: App, *loaders: Engine) -> None:
    add = app.kernel.registry.add
    for loader in loaders:
        add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.EARLY, rank=0, rewrites=False)


async def with_models(app: App, *names: str) -> Models:
    app.kernel.models.mkdir(parents=True, exist_ok=True)
    for name in names:
        (app.kernel.models / name).parent.mkdir(parents=True, exist_ok=True)
        whole = a_gguf() if name.endswith(".gguf") else b"x"  # Else it is damaged once it was read.
        (app.kernel.models / name).write_bytes(whole)
    [models] = app.kernel.registry.values(MODELS)
    await models.look()
    return models


def there(app: App) -> str:
    model = app.kernel.slot().model
    return model.info.name if model else ""


def file(app: App) -> Path:
    return app.kernel.models / OURS


async def picking(app: App, name: str) -> Page:
    page = await app.open("/")
    await page.act("models.choose", file=name)
    await page.until("models-load")
    return page


def last(page: Page) -> str:
    """The picker as it was sent last."""
    return page.html[page.html.rindex("<dialog") :]


async def test_of_two_quick_choices_the_later_is_shown_and_loaded(monkeypatch: pytest.MonkeyPatch):
    settings = "extensions:\n  models:\n    autoload: true\n"
    async with running("models", model=(model := Scripted("Hi.")), settings=settings) as app:
        having(app, loader := Engine(model))
        await with_models(app, "one.gguf", "two.gguf")
        page, made = await app.open("/"), Choosing._made
        called, gate = asyncio.Event(), asyncio.Event()

        async def slow(self: Choosing, chosen: Any) -> Any:
            if chosen.name == "one.gguf":
                called.set()
                await gate.wait()
            return await made(self, chosen)

        monkeypatch.setattr(Choosing, "_made", slow)
        first = asyncio.create_task(page.act("models.choose", file="one.gguf"))
        await called.wait()
        await page.act("models.choose", file="two.gguf")
        gate.set()
        await first
        assert 'value="two.gguf"' in last(page)
        assert [there(app), len(loader.asked)] == ["two", 1]


@pytest.mark.parametrize("then", ["models.load", "models.choose"])
async def test_a_load_that_came_to_nothing_leaves_the_form_of_another_choice(then: str):
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        await with_models(app, "one.gguf", "two.gguf")
        page = await picking(app, "one.gguf")
        loader.gate = asyncio.Event()
        first = asyncio.create_task(page.act("models.load", file="one.gguf", threads="3"))
        await app.until(lambda: bool(loader.asked))
        held, loader.gate, loader.fails = loader.gate, None, RuntimeError("No.")
        if then == "models.load":
            loader.fails = None
        await page.act(then, file="two.gguf")
        held.set()
        await first
        assert 'value="two.gguf"' in last(page)
        assert 'value="one.gguf"' not in last(page)


async def test_what_the_form_says_is_saved_and_used_from_then_on():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "sub/one.gguf", "two.gguf")
        page = await picking(app, "sub/one.gguf")
        await page.act("models.load", file="sub/one.gguf", context_length="2048", threads="0")
        assert loader.asked[-1] == Options(2048)
        assert "one.gguf$:\n  loader: llama.cpp\n  context_length: 2048\n" in file(app).read_text()
        await models.load("two.gguf")
        assert loader.asked[-1] == Options(), "it is another model"
        await models.load("sub/one.gguf", options={"threads": 3})
        assert loader.asked[-1] == Options(2048, threads=3)
        assert "threads" not in file(app).read_text(), "a program's wish is its own"
        await page.act("models.load", file="sub/one.gguf", context_length="")
        assert loader.asked[-1] == Options()
        assert "one.gguf" not in file(app).read_text(), "nothing is left to say"


async def test_it_is_saved_without_a_load_and_forgotten_with_a_way_back():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf")
        page = await picking(app, "one.gguf")
        assert "models-forget" not in last(page)
        await page.act("models.save", file="one.gguf", threads="7")
        await page.until("Saved. It counts from the next load")
        assert loader.asked == []
        assert 'value="7"' in last(page)
        await page.act("models.save", file="one.gguf", threads="700")
        await page.until("from 0 to 64")
        assert "threads: 7\n" in file(app).read_text()
        await page.act("models.forget", file="one.gguf")
        await page.until("is forgotten.*Undo")
        assert "threads" not in file(app).read_text()
        await page.act("models.restore", number=0)
        assert "threads: 7\n" in file(app).read_text()
        await models.load("one.gguf")
        assert loader.asked[-1].threads == 7


THEIR_FILE = """\
.*one:
  loader: llama.cpp
  n_ctx: 512
  n_gqa: 8
  instruction_template: Alpaca
.*:
  threads: 3
  cache_type: q9_9
"""


async def test_the_file_of_text_generation_webui_counts_as_it_is():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, first := Engine(model), second := Second(model))
        models = await with_models(app, "One.gguf", "two.gguf")
        file(app).write_text(THEIR_FILE)
        (app.kernel.models / THEIRS).write_text(".*two:\n  loader: llamacpp_HF\n  n_ctx: 64\n")
        await models.load("One.gguf")
        assert first.asked == [Options(512, threads=3)]
        await models.load("two.gguf")
        assert second.asked == [Options(64, threads=3)]
        page = await picking(app, "One.gguf")
        await page.until("3 saved options cannot be used")
        await page.until("The file says it itself. Leave n_gqa out.")
        await page.act("models.load", file="One.gguf", context_length="512", threads="0")
        assert first.asked[-1] == Options(512), "the form's word is the last, also for a default"
        text = file(app).read_text()
        assert text.startswith(THEIR_FILE)
        assert text.endswith("One.gguf$:\n  loader: llama.cpp\n  threads: 0\n")
        file(app).write_text(text.replace("threads: 0", "threads: 5"))
        await models.load("One.gguf")
        assert first.asked[-1].threads == 5, "what is edited counts at once"


async def test_the_command_line_goes_before_what_is_saved_at_the_start_alone():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf")
        file(app).write_text("one.gguf$:\n  n_ctx: 512\n  threads: 3\n")
        loader.given = {"context_length": 4096}
        app.kernel.flags = {"kernel": {"model": "one.gguf", "loader": "llama.cpp"}}
        await app.kernel.slot().unload()
        app.kernel.bus.emit(Started())
        await app.until(lambda: bool(loader.asked))
        assert loader.asked == [Options(4096, threads=3)]
        page = await picking(app, "one.gguf")
        assert 'value="4096"' in last(page), "the form says how it is loaded"
        await models.load("one.gguf")
        assert loader.asked[-1] == Options(512, threads=3)


@asynccontextmanager
async def started() -> AsyncIterator[App]:
    """Spindle, whose start found nothing to load, and looks no more."""
    async with running("models") as app:
        assert await app.kernel.restart("models")
        yield app


async def beginning(app: App) -> None:
    """As at a start of Spindle, whose loaders are yet to come."""
    await app.kernel.slot().unload()
    app.kernel.starting = True
    assert await app.kernel.restart("models")


async def test_what_a_start_will_load_is_said_before_its_loader_is_there():
    async with started() as app:
        await with_models(app, GUIDE)
        await beginning(app)
        page = await app.open("/")
        await page.until("Loading guide.gguf")
        asking = asyncio.create_task(app.kernel.slot().settled())
        having(app, Engine(Scripted("Hi.")))
        await asyncio.sleep(0.01)
        assert not asking.done()
        app.kernel.bus.emit(Started())
        await asking
        assert there(app) == "guide"


@pytest.mark.parametrize("why", ["nothing is there", "another was named", "nobody wants one"])
async def test_what_a_start_does_not_load_is_not_expected(why: str):
    async with started() as app:
        await with_models(app, *([] if why == "nothing is there" else [GUIDE]))
        if why == "another was named":
            app.kernel.flags = {"kernel": {"model": "gone.gguf"}}
        await app.configure("models", at_start=why != "nobody wants one")
        await beginning(app)
        await asyncio.sleep(0.01)
        assert app.kernel.slot().state.state == "empty"


async def test_what_is_given_up_before_it_began_is_not_loaded():
    async with started() as app:
        having(app, loader := Engine(Scripted("Hi.")))
        await with_models(app, GUIDE)
        await beginning(app)
        page = await app.open("/")
        await page.until("Loading guide.gguf")
        await page.act("models.cancel")
        assert app.kernel.slot().state.state == "empty"
        app.kernel.bus.emit(Started())
        await asyncio.sleep(0.1)
        assert not loader.asked


async def test_the_guide_is_expected_for_a_model_that_is_gone():
    async with started() as app:
        having(app, loader := Engine(Scripted("Hi.")))
        models = await with_models(app, GUIDE, "mine.gguf")
        await models.load("mine.gguf")
        (app.kernel.models / "mine.gguf").unlink()
        await beginning(app)
        await app.until(lambda: app.kernel.slot().state.note == "Loading guide.gguf")
        app.kernel.bus.emit(Started())
        await app.until(lambda: bool(app.kernel.slot().model))
        assert there(app) == "guide"
        assert len(loader.asked) == 2


@pytest.mark.parametrize("loader", ["nowhere", "", "gone"])
async def test_a_start_that_comes_to_nothing_keeps_nobody_waiting(loader: str):
    async with started() as app:
        await with_models(app, "mine.gguf")
        app.kernel.flags = {"kernel": {"model": "mine.gguf", "loader": loader}}
        await beginning(app)
        await app.until(lambda: app.kernel.slot().state.state == "loading")
        asking = asyncio.create_task(app.kernel.slot().settled())
        if loader == "gone":
            (app.kernel.models / "mine.gguf").unlink()
        app.kernel.bus.emit(Started())
        await asking
        assert app.kernel.slot().state.state == ("empty" if loader == "gone" else "failed")


async def test_a_folder_means_the_model_in_it_as_long_as_it_is_the_only_one():
    async with running("models") as app:
        having(app, loader := Engine(Scripted("Hi.")))
        models = await with_models(app, "Ada-GGUF/ada.gguf", "readme/note.txt")
        app.kernel.flags = {"kernel": {"model": "Ada-GGUF/", "loader": "llama.cpp"}}
        app.kernel.bus.emit(Started())
        await app.until(lambda: bool(app.kernel.slot().model))
        assert there(app) == "ada"
        await app.kernel.slot().unload()
        await models.load("Ada-GGUF")
        assert there(app) == "ada"
        assert len(loader.asked) == 2
        seeing = a_gguf({"general.type": "mmproj"})
        (app.kernel.models / "Ada-GGUF" / "mmproj-ada.gguf").write_bytes(seeing)
        await models.load("Ada-GGUF")
        assert there(app) == "ada", "what sees for it is no second model"
        await with_models(app, *(f"Ada-GGUF/bob-{n}.gguf" for n in range(6)))
        named = "Ada-GGUF/ada.gguf, Ada-GGUF/bob-0.gguf, .* and 2 more. Name one of them."
        with pytest.raises(Refused, match=f"Ada-GGUF is a folder with several models: {named}"):
            await models.load("Ada-GGUF")
        with pytest.raises(LoadFailed, match="No running loader takes"):
            await models.load("readme")


class Folders(Second):
    """Takes a folder with a tokenizer, as llamacpp_HF does."""

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf" or (path / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("wish", "saved", "taken"),
    [
        ("", "", ("llamacpp_hf", "Ada")),
        ("llama.cpp", "", ("llama_cpp", "ada")),
        ("", "llama.cpp", ("llama_cpp", "ada")),
        ("llamacpp_HF", "llama.cpp", ("llamacpp_hf", "Ada")),
        ("nowhere", "llama.cpp", None),
    ],
)
async def test_a_folder_goes_to_the_loader_that_is_named_or_saved(
    wish: str, saved: str, taken: tuple[str, str] | None
):
    async with running("models") as app:
        having(app, first := Engine(Scripted("Hi.")), second := Folders(Scripted("Hi.")))
        await with_models(app, "Ada/ada.gguf", "Ada/tokenizer.json")
        if saved:
            file(app).write_text(f"Ada$:\n  loader: {saved}\n  n_ctx: 300\n")
        app.kernel.flags = {"kernel": {"model": "Ada", "loader": wish}}
        app.kernel.bus.emit(Started())
        slot = app.kernel.slot()
        await app.until(lambda: bool(slot.model or slot.state.error))
        asked = {"llama_cpp": first.asked, "llamacpp_hf": second.asked}
        assert [id for id in asked if asked[id]] == ([taken[0]] if taken else [])
        if taken:
            assert there(app) == taken[1]
        if first.asked:
            assert first.asked == [Options(300 if saved else 0)]


async def test_what_is_saved_of_a_folder_counts_for_the_one_model_in_it():
    said = "Ada$:\n  loader: llamacpp_HF\n  n_ctx: 300\n  preset: Calm\n.*ada:\n  threads: 2\n"
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, first := Engine(model), second := Second(model))
        models = await with_models(app, "x/Ada/ada.gguf", "x/Ada/mmproj-ada.gguf")
        file(app).write_text(said)
        await models.load("x/Ada/ada.gguf")
        assert second.asked == [Options(300, threads=2)]
        assert models.said("x/Ada/ada.gguf", "preset") == ("Calm", False)
        assert models.said("ada.gguf", "preset") == ("Calm", False), "it is the one that is loaded"
        await with_models(app, "x/Ada/ada-large.gguf")
        await models.load("x/Ada/ada.gguf")
        assert first.asked == [Options(threads=2)], "the folder may mean either"


async def test_a_program_may_name_the_folder_of_a_model():
    async with running("models") as app:
        having(app, Engine(Scripted("Hi.")))
        models = await with_models(app, "Ada/ada.gguf", "two/a.gguf", "two/b.gguf")
        found = await models.find("Ada")
        assert found
        assert found.name == "Ada/ada.gguf"
        assert not await models.find("two")
        await models.load(found.name)
        assert models.is_loaded("Ada")


async def test_a_start_takes_the_name_that_programs_use():
    async with started() as app:
        await with_models(app, "Ada/ada.Q4_K_M.gguf", GUIDE)
        app.kernel.flags = {"kernel": {"model": "ada.Q4_K_M"}}
        await beginning(app)
        await app.until(lambda: app.kernel.slot().state.note == "Loading ada.Q4_K_M.gguf")
        having(app, Engine(Scripted("Hi.")))
        app.kernel.bus.emit(Started())
        await app.until(lambda: bool(app.kernel.slot().model))
        assert there(app) == "ada.Q4_K_M"


async def test_what_is_saved_and_used_by_nothing_is_told():
    said = (
        "one.gguf$:\n  custom_stopping_strings: '\"</s>\"'\n  wbits: '4'\n  groupsize: None\n"
        "  gpu-memory-0: 0\n  preset: Calm\n  threads: 2\n"
    )

    async def rows(model: ModelFile) -> list[Field]:
        return [Field("preset", "Preset", "", "text", "Calm", "", True, "text")]

    async def save(model: ModelFile, values: Any) -> None: ...

    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, Engine(model))
        beside = Beside(rows, save)
        app.kernel.registry.add(BESIDE, beside, "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
        await with_models(app, "one.gguf")
        file(app).write_text(said)
        page = await picking(app, "one.gguf")
        await page.until("2 saved options cannot be used")
        await page.until("custom_stopping_strings is a parameter here. Set it in Parameters")
        await page.until("Nothing that is switched on uses wbits. It can be left out.")


async def test_another_loader_does_not_get_the_options_of_the_first():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, first := Engine(model), second := Second(model))
        models = await with_models(app, "one.gguf")
        file(app).write_text("one.gguf$:\n  loader: llama.cpp\n  n_ctx: 512\n  preset: Calm\n")
        await models.load("one.gguf", "llamacpp_hf")
        assert second.asked == [Options()]
        page = await picking(app, "one.gguf")
        form = {"file": "one.gguf", "loader": "llamacpp_hf", "threads": "2"}
        await page.act("models.load", **form)
        assert second.asked[-1] == Options(threads=2)
        await models.load("one.gguf")
        assert second.asked[-1].threads == 2
        assert first.asked == []
        assert "preset: Calm" in file(app).read_text(), "what belongs to the model stays"


async def test_a_folder_that_cannot_be_written_costs_no_load(monkeypatch: pytest.MonkeyPatch):
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf")
        file(app).write_text("just words")
        page = await picking(app, "one.gguf")
        await page.until("config-user.yaml: it is no list of names. Correct it")
        await page.act("models.load", file="one.gguf", threads="2")
        assert loader.asked == [Options(threads=2)]
        assert file(app).read_text() == "just words"
        await models.load("one.gguf")
        assert loader.asked[-1] == Options(threads=2), "it is kept in the data folder till then"
        await page.act("models.save", file="one.gguf", threads="4")
        await page.until("was not saved: .*Correct it, then save again.")


async def test_a_click_loads_where_people_want_that():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        await with_models(app, "one.gguf", "two.gguf")
        file(app).write_text("one.gguf$:\n  threads: 3\n")
        page = await app.open("/")
        await page.act("models.choose", file="one.gguf")
        assert loader.asked == [], "it is off at first"
        await page.act("models.autoload", on=True)
        await page.until('id="models-autoload"[^>]*aria-checked="true"')
        await page.act("models.choose", file="one.gguf")
        assert loader.asked == [Options(threads=3)]
        await page.act("models.choose", file="one.gguf")
        await page.act("models.choose", file="one.gguf", loader="llama_cpp")
        assert len(loader.asked) == 1, "it is there"


async def test_a_load_is_shown_in_stages_with_the_engines_lines_folded():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf")
        page = await picking(app, "one.gguf")
        loader.gate, loader.lines = asyncio.Event(), ("llama_model_loader: <b>", "layer 1")
        loader.notes = ("Checking the file", "Reading 10 of 20", "Reading 20 of 20")
        loading = asyncio.create_task(models.load("one.gguf"))
        shown = await page.until(r'<ol class="models-stages".*Reading 20 of 20</li>.*</details>')
        shown = last(page)
        assert shown.count("<li") - shown.count('class="file"') == 3, "numbers alone are no stage"
        assert 'aria-current="step">Reading 20 of 20' in shown
        assert "Checking the file <span" in shown
        assert "<summary>What the engine says</summary>" in shown
        assert "llama_model_loader: &lt;b&gt;\nlayer 1" in shown
        loader.lines = (*loader.lines, "layer 2")
        await page.until("layer 1\nlayer 2")
        await page.act("models.cancel")
        with pytest.raises(LoadFailed):
            await loading
        assert "models-stages" not in last(page)
        assert app.kernel.slot().state.state == "empty"


async def test_an_error_says_what_to_change_and_a_crash_shows_its_last_lines():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        await with_models(app, "one.gguf")
        page = await picking(app, "one.gguf")
        loader.fails = WorkerDied("The engine ran out of memory while loading the model.")
        loader.lines = ("ggml: failed to allocate", "<i>abort</i>")
        await page.act("models.load", file="one.gguf", context_length="90000")
        await page.until("<summary>Its last lines</summary>")
        drawn = last(page)
        assert "ran out of memory" in drawn
        assert "failed to allocate\n&lt;i&gt;abort" in drawn
        assert "<b>Context length</b>: shorter" in drawn
        assert "<b>Cache type</b>: q8_0 takes half" in drawn
        assert "Threads</b>" not in drawn
        assert 'value="90000"' in drawn, "what was tried is there to be changed"
        assert not file(app).exists(), "what did not load is not saved"
        loader.fails = WorkerDied("The engine crashed (SIGSEGV) while loading the model.")
        await page.act("models.load", file="one.gguf", context_length="90000")
        await app.until(lambda: "SIGSEGV" in last(page))
        assert "models-advice" not in last(page)
        loader.fails = None
        await page.act("models.load", file="one.gguf", context_length="900")
        await app.until(lambda: "models-unload" in last(page))
        assert "models-crash" not in last(page)
        assert "models-advice" not in last(page)
        loader.fails, loader.lines = WorkerDied("It crashed again."), ("the end",)
        model.die("The engine crashed (SIGSEGV) while writing a reply.")
        await app.until(lambda: app.kernel.slot().state.state == "failed")
        await page.until("<summary>Its last lines</summary>.*the end")


class Careful(Engine):
    """Knows beforehand what it refuses."""

    def refuse(self, path: Path, options: Any) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.looking.append(path.stem)
        if path.stem == "two":
            self.gate_of_refusal.wait(10)
        if options.threads == 13:
            raise Refused("13 threads are unlucky. Take 12.")
        if options.threads == 14:
            raise RuntimeError("no luck")
        if options.threads == 15:
            raise Refused(f"{path.name} cannot be loaded: it is cut short. Download it again.")

    def __init__(self, model: Scripted) -> None:
        super().__init__(model)
        self.looking = list[str]()
        self.gate_of_refusal = threading.Event()
        self.gate_of_refusal.set()


async def test_what_is_refused_beforehand_costs_the_running_model_nothing():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Careful(model))
        models = await with_models(app, "one.gguf", "two.gguf")
        page = await picking(app, "two.gguf")
        await models.load("one.gguf")
        before = app.kernel.slot().state
        await page.act("models.load", file="two.gguf", threads="13")
        await page.until("two.gguf did not load. 13 threads are unlucky. Take 12. one stays loaded")
        assert app.kernel.slot().state is before
        assert len(loader.asked) == 1
        assert 'value="13"' in last(page), "what was typed is there to be changed"
        await page.until(r'class="fail[^>]*>\s*<p>two.gguf did not load. 13 threads are unlucky.')
        with pytest.raises(LoadFailed, match=r"^two\.gguf did not load: it is cut"):
            await models.load("two.gguf", options={"threads": 15})
        with pytest.raises(LoadFailed, match="13 threads are unlucky") as failed:
            await models.load("two.gguf", options={"threads": 13})
        assert isinstance(failed.value.__cause__, Refused), "programs are told which it is"
        await models.load("two.gguf", options={"threads": 14})
        await page.until(r'id="models-picker"(?!.*class="fail)')
        assert loader.asked[-1].threads == 14, "what fails over it is no refusal"
        await models.unload()
        loader.fails = Refused("13 threads are unlucky. Take 12.")
        with pytest.raises(LoadFailed, match=r"two.gguf did not load\. 13 threads"):
            await models.load("two.gguf", options={"threads": 13})
        assert app.kernel.slot().state.state == "failed", "with none there, the slot tells it"


async def test_of_two_loads_the_newer_one_wins_while_a_header_is_read():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Careful(model))
        models = await with_models(app, "one.gguf", "two.gguf", "three.gguf")
        await models.load("one.gguf")
        loader.gate_of_refusal.clear()
        older = asyncio.create_task(models.load("two.gguf"))
        await app.until(lambda: "two" in loader.looking)
        await models.load("three.gguf")
        loader.gate_of_refusal.set()
        with pytest.raises(LoadFailed, match="Another choice"):
            await older
        state = app.kernel.slot().state
        assert state.info
        assert state.info.name == "three"


class Odd(Engine):
    """Takes a form that nobody else knows."""

    id = label = "odd"

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".odd"


async def test_a_form_that_only_its_loader_knows_is_in_the_picker():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, Odd(model))
        models = await with_models(app, "one.odd", "two.nobody")
        described = await models.describe("one.odd")
        assert described, "and is read"
        page = await picking(app, "one.odd")
        assert '<span class="name">one.odd</span>' in last(page)


async def test_of_two_models_with_one_name_the_page_says_which_one_it_is():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "tiny/hf.gguf", "large/hf.gguf", "alone.gguf")
        page = await picking(app, "tiny/hf.gguf")
        loader.gate = asyncio.Event()
        loading = asyncio.create_task(models.load("tiny/hf.gguf"))
        await page.until("<b>tiny/hf</b><span[^>]*>Loading")
        await page.until("<b>tiny/hf</b> <span[^>]*>is being loaded")
        loader.gate.set()
        await loading
        await page.until("<b>tiny/hf</b><span>GGUF")
        loader.fails = WorkerDied("It crashed.")
        await page.act("models.load", file="large/hf.gguf", loader="llama_cpp")
        await page.until("<b>large/hf is not loaded</b>")
        loader.fails = None
        await models.load("alone.gguf")
        await page.until("<b>alone</b><span>GGUF")


@pytest.mark.parametrize(
    ("error", "of_memory"),
    [
        ("The engine ran out of memory while loading.", True),
        ("CUDA error: failed to allocate 20 bytes", True),
        ("60 layers of this model do not fit the 8 GB that are free.", True),
        ("x is incomplete, weights are not in its files: a.weight. Download it again.", False),
        ("InGBar cannot be loaded: it is no UTF-8. Download it again.", False),
    ],
)
def test_what_takes_less_memory_is_told_where_memory_was_short(error: str, *, of_memory: bool):
    assert bool(advice(error, ())) is of_memory
