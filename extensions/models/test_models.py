"""The picker: what is found, how it is loaded, and what is remembered."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from extensions.models.api import MODELS, shown
from extensions.models.files import Shelf, find
from extensions.models.loading import GUIDE, Loading
from extensions.models.memory import Choice, Memory
from extensions.models.rest import Rest
from extensions.models.saved import Saved
from extensions.models.views import Views, rate_of, size_in_words, used_of
from extensions.models.ways import Ways
from kernel.api import (
    LOADERS,
    Connected,
    Loader,
    Manifest,
    Phase,
    Refused,
    Started,
    ToInstall,
    Usage,
)
from kernel.testing import App, Page, Scripted, ScriptedLoader, running


class OnlyGguf(ScriptedLoader):
    """Takes .gguf files."""

    id = label = "gguf"

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf"


class OnlyFolders(ScriptedLoader):
    """Takes folders with a config.json."""

    id = label = "folders"

    def accepts(self, path: Path) -> bool:
        return (path / "config.json").is_file()


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 10)


def test_it_finds_files_and_folders_at_any_depth(tmp_path: Path):
    touch(tmp_path, "a.gguf", "deep/er/b.gguf", "hf/config.json", "hf/model.safetensors")
    touch(tmp_path, "notes.txt", ".hidden/c.gguf", "split-00001-of-00002.gguf")
    touch(tmp_path, "split-00002-of-00002.gguf", "1/2/3/4/5/6/deep.gguf")
    found = find(tmp_path, [OnlyGguf(Scripted()), OnlyFolders(Scripted())])  # type: ignore[list-item]
    assert [model.name for model in found] == [
        "1/2/3/4/5/6/deep.gguf",
        "a.gguf",
        "deep/er/b.gguf",
        "hf",
        "split-00001-of-00002.gguf",
    ]
    assert [model.size for model in found] == [10, 10, 10, 10, 20]


def test_links_are_followed_and_a_loop_ends(tmp_path: Path):
    touch(tmp_path / "elsewhere", "big.gguf")
    root = tmp_path / "models"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    names = [model.name for model in find(root, [OnlyGguf(Scripted())])]  # type: ignore[list-item]
    assert names == ["linked/big.gguf"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no such files")
def test_what_is_no_file_is_not_listed(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.gguf")  # Reading it would wait for ever.
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere.gguf")
    touch(tmp_path, "a.gguf")
    names = [model.name for model in find(tmp_path, [OnlyGguf(Scripted())])]  # type: ignore[list-item]
    assert names == ["a.gguf"]


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1234, "1.2 KB"), (999_600, "1.0 MB"), (3_112_096, "3.1 MB"), (42e9, "42 GB")],
)
def test_sizes_are_read_by_people(size: int, words: str):
    assert size_in_words(size) == words


def test_memory_survives_and_begins_anew_when_it_cannot_be_read(tmp_path: Path):
    file = tmp_path / "state" / "models.json"
    Memory(file).loaded("a.gguf", Choice("gguf", {"threads": 2}))
    again = Memory(file)
    assert (again.last, again.choice("a.gguf")) == ("a.gguf", Choice("gguf", {"threads": 2}))
    again.forget("a.gguf")
    assert (Memory(file).last, Memory(file).choice("a.gguf")) == ("a.gguf", None)
    file.write_text("{broken")
    assert Memory(file).last == ""


async def with_files(app: App, *names: str) -> None:
    app.kernel.models.mkdir(parents=True, exist_ok=True)
    touch(app.kernel.models, *names)


async def test_a_click_loads_and_the_next_start_remembers(tmp_path: Path):
    data = tmp_path / "data"
    async with running("models", model=Scripted("Hi."), data=data) as app:
        await app.kernel.slot().unload()
        await with_files(app, "one.gguf", "two.gguf")
        page = app.page("/")
        await app.web.snapshot(page.client)
        await page.act("models.choose", file="two.gguf")
        await page.until('aria-pressed="true"')
        await page.act("models.load", file="two.gguf", loader="scripted")
        await page.until('data-state="ready"')
        assert app.kernel.slot().state.name == "two"
        await page.act("models.unload")
        await page.until("No model")
        await page.act("models.reload")
        assert app.kernel.slot().state.state == "ready"
        await page.act("models.at_start", on="false")
        assert "at_start: false" in (data / "settings.yaml").read_text()
        await page.act("models.at_start", on="true")
    assert Memory(data / "state" / "models" / "models.json").last == "two.gguf"


@pytest.mark.parametrize("name", ["../secret.gguf", "/etc/passwd", "gone.gguf", "a/../../b"])
async def test_a_name_never_leads_out_of_the_folder(name: str):
    async with running("models", model=Scripted("Hi.")) as app:
        page = app.page("/")
        await page.act("models.load", file=name, loader="scripted")
        await page.until("toast")
        assert app.kernel.slot().state.name == "scripted"  # what was loaded before


async def test_a_bad_option_is_told_beside_its_field():
    async with running("models", "llama_cpp", "engine_kit") as app:
        await with_files(app, "one.gguf")
        page = app.page("/")
        await app.web.snapshot(page.client)
        await page.act("models.choose", file="one.gguf")
        await page.act("models.load", file="one.gguf", loader="llama_cpp", threads="100000")
        await page.until("from 0 to 256")
        assert app.kernel.slot().state.state == "empty"


class Touchy(OnlyGguf):
    """Cannot bear one name."""

    def accepts(self, path: Path) -> bool:
        if path.name == "odd.gguf":
            raise PermissionError(path)
        return super().accepts(path)


def test_a_file_that_upsets_a_loader_costs_only_itself(tmp_path: Path):
    touch(tmp_path, "odd.gguf", "one.gguf")
    loaders = [Touchy(Scripted()), OnlyGguf(Scripted())]
    found = find(tmp_path, loaders)
    assert {model.name: len(model.loaders) for model in found} == {"odd.gguf": 1, "one.gguf": 2}


async def test_a_name_that_is_no_text_is_left_out_and_the_page_lives():
    async with running("models", model=Scripted("Hi.")) as app:
        await with_files(app, "one.gguf")
        root = os.fsencode(app.kernel.models)
        try:
            os.mkdir(root + b"/caf\xe9")
        except OSError:
            pytest.skip("this file system takes no such names")
        touch(app.kernel.models, os.fsdecode(b"caf\xe9/two.gguf"), os.fsdecode(b"three\xff.gguf"))
        page = app.page("/")
        await page.act("models.choose", file="one.gguf")
        await page.until("one.gguf")
        assert "two.gguf" not in page.html
        assert "three" not in page.html
        html = app.kernel.pages.render("error.html", title="odd \udcff name", text="")
        assert "odd ? name" in html.encode().decode()


def test_a_glance_sees_what_changed_and_searches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path, "a.gguf", "deep/b.gguf", "empty/note.txt")
    shelf = Shelf(tmp_path)
    loaders: list[Any] = [OnlyGguf(Scripted())]
    assert shelf.look(loaders)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", None)
        assert not shelf.touched(loaders)
    touch(tmp_path, "empty/c.gguf")
    os.utime(tmp_path / "empty", (1, 1))  # clocks of file systems are coarse
    assert shelf.touched(loaders)
    assert shelf.look(loaders)
    assert not shelf.touched(loaders)
    (tmp_path / "a.gguf").write_bytes(b"grown")
    assert shelf.touched(loaders)
    (tmp_path / "deep" / "b.gguf").unlink()
    assert shelf.look(loaders)
    assert shelf.touched([])


def test_what_comes_while_the_shelf_looks_is_seen_by_the_next_look(tmp_path: Path):
    class Slow(OnlyGguf):
        def accepts(self, path: Path) -> bool:
            touch(tmp_path, "late.gguf")
            os.utime(tmp_path, (1, 1))  # clocks of file systems are coarse
            return super().accepts(path)

    touch(tmp_path, "a.gguf")
    shelf, loaders = Shelf(tmp_path), cast(list[Any], [Slow(Scripted())])
    shelf.look(loaders)
    assert [model.name for model in shelf.models] == ["a.gguf"]
    assert shelf.touched(loaders)
    shelf.look(loaders)
    assert [model.name for model in shelf.models] == ["a.gguf", "late.gguf"]


async def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch):
    async with running("models") as app:
        ext = app.kernel.records["models"].handle
        assert ext
        ways = Ways(ext, memory := Memory(app.kernel.data / "none"), Saved(app.kernel.models))
        views, looks = Views(ext, ways, Loading(ext, memory, ways), Rest(ext)), list[int]()
        views.greet(app.page("/").client)
        told = list[bool]()

        async def looked(changed: bool) -> None:
            told.append(changed)

        async def glance() -> bool:
            looks.append(1)
            if len(looks) < 3:
                raise OSError("the disk is gone")
            return True

        monkeypatch.setattr(views, "glance", glance)
        watching = asyncio.create_task(views.watch(0.001, looked))
        await app.until(lambda: len(looks) > 5)
        assert all(told)
        assert told
        assert not watching.done()
        watching.cancel()


GONE = "gone.gguf is not below"


async def started_without(app: App, *files: str) -> None:
    """As a start finds it when the model used last is gone."""
    await app.kernel.slot().unload()
    await with_files(app, *files)
    app.kernel.bus.emit(Started())
    await asyncio.sleep(0)


async def test_when_the_remembered_model_is_gone_the_guide_stands_in(tmp_path: Path):
    file = tmp_path / "state" / "models" / "models.json"
    Memory(file).loaded("gone.gguf", Choice())
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        await started_without(app, GUIDE)
        slot = app.kernel.slot()
        await app.until(lambda: slot.state.state == "ready" and slot.state.name == "guide")
        for expected in (1, 0):
            page = app.page("/")
            app.kernel.bus.emit(Connected(page.client))
            await app.web.snapshot(page.client)
            await page.until(f'id="models-trouble" role="alert"><p>{GONE}')
            assert "The guide stands in." in page.html
            await asyncio.sleep(0.05)
            page.html += "".join(page.client.outbox.take())
            assert page.html.count('class="toast error"') == expected, "told once"
        assert Memory(file).last == "gone.gguf", "it may come back"
        await page.act("models.choose", file=GUIDE)
        await page.act("models.load", file=GUIDE, loader="scripted")
        page.html = ""
        await app.web.snapshot(page.client)
        await page.until("models-picker")
        assert GONE not in page.html


@pytest.mark.parametrize("files", [(), (GUIDE,)])
async def test_when_the_model_of_the_command_line_is_gone_the_page_says_so(
    tmp_path: Path, files: tuple[str, ...]
):
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        app.kernel.flags = {"kernel": {"model": "gone.gguf"}}
        await started_without(app, *files)
        await asyncio.sleep(0.05)
        assert app.kernel.slot().state.state == "empty"
        page = app.page("/")
        await app.web.snapshot(page.client)
        await page.until('data-state="failed"')
        await page.until(f'role="alert"><p>{GONE}')


async def test_a_first_start_without_a_guide_complains_of_nothing(tmp_path: Path):
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        await started_without(app)
        await asyncio.sleep(0.05)
        page = app.page("/")
        app.kernel.bus.emit(Connected(page.client))
        await app.web.snapshot(page.client)
        await page.until("No model")
        assert 'role="alert"' not in page.html


class Installed(OnlyGguf):
    """Its engine is installed at the first load."""

    there = False

    async def missing(self) -> ToInstall | None:
        return None if self.there else ToInstall(("torch==2", "<b>"), "2 GB")

    async def install(self, report: Callable[[float, str], None]) -> None:
        report(0.5, "Downloading torch")
        while not self.there:
            await asyncio.sleep(0.005)


async def test_the_picker_says_what_a_load_installs_and_keeps_what_is_loaded_meanwhile():
    async with running("models", model=Scripted("Hi.")) as app:
        loader = Installed(Scripted("New."))
        add = app.kernel.registry.add
        add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
        await with_files(app, "one.gguf")
        page = app.page("/")
        await app.web.snapshot(page.client)
        await page.act("models.choose", file="one.gguf", loader="gguf")
        said = await page.until('id="models-installs".*?</form>')
        assert "torch==2, &lt;b&gt;. On disk that is about 2 GB." in said
        assert "scripted stays loaded meanwhile" in said
        assert "Install and load" in said

        page.html = ""
        loading = asyncio.create_task(page.act("models.load", file="one.gguf", loader="gguf"))
        await page.until("<b>scripted</b> <span[^>]*>stays loaded until .*>Downloading torch</li>")
        assert app.kernel.slot().state.state == "ready"
        await page.act("models.cancel")
        await loading
        page.html = ""
        await app.web.snapshot(page.client)
        # One of before may still come: the last one counts.
        await page.until("<dialog(?!.*stays loaded until).*</dialog>")
        assert app.kernel.slot().state.name == "scripted"

        loader.there = True
        page.html = ""
        await page.act("models.load", file="one.gguf", loader="gguf")
        assert app.kernel.slot().state.name == "one"
        await app.until(lambda: "models-installs" not in drawn_last(page))


def drawn_last(page: Page) -> str:
    """The picker as it was sent last."""
    page.html += "".join(page.client.outbox.take())
    return page.html[page.html.rindex("<dialog") :]


def test_every_engine_says_how_large_it_is():
    for file in Path(__file__).parent.parent.glob("*/extension.toml"):
        worker = Manifest.read(file.parent).worker
        for table in (worker, *worker.variants.values()) if worker else ():
            assert table.size, f"{file}: measure what its environment takes on disk"


async def test_a_start_replaces_nothing_that_somebody_chose_meanwhile():
    async with running("models", model=Scripted("Hi.")) as app:
        await with_files(app, GUIDE, "mine.gguf")
        ext = app.extension("models")
        memory = Memory(ext.data / "models.json")
        loading = Loading(ext, memory, Ways(ext, memory, Saved(ext.models)))
        await ext.slot().load(app.kernel.models / "mine.gguf")
        loaders = app.kernel.registry.values(LOADERS)
        loader: Any = next(each for each in loaders if each.id == "scripted")
        loads = loader.loads
        await loading.at_start(lambda said: None)
        assert loader.loads == loads
        await ext.slot().unload()
        await loading.at_start(lambda said: None)
        assert loader.loads == loads + 1


async def test_two_models_of_one_name_are_told_apart():
    async with running("models") as app:
        await with_files(app, GUIDE, "guide/config.json")
        model = Scripted("Hi.")
        await app.load(model)
        for name, form in (("guide", "folder"), (GUIDE, "GGUF")):
            path = str(app.kernel.models / name)
            model.info = msgspec.structs.replace(model.info, name="guide", path=path)
            await app.kernel.slot().reload()
            page = app.page("/")
            await app.web.snapshot(page.client)
            await page.until(f"<b>guide</b><span>{form}</span>")
            await page.until(f'<b>guide</b> <span class="quiet">{form} · ')


# --- nothing large is installed unasked ---------------------------------------------------------


class BigFolders(OnlyFolders):
    """Its engine is not there; notes whether anybody began to install it."""

    label = "Big"

    def __init__(self, model: Scripted) -> None:
        super().__init__(model)
        self.begun = 0

    async def missing(self) -> ToInstall | None:
        return None if self.begun else ToInstall(("torch==2",), "1.2 GB")

    async def install(self, report: Callable[[float, str], None]) -> None:
        self.begun += not self.begun


class BigGguf(BigFolders):
    """The same for the guide."""

    id = "gguf"

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf"


async def begun(app: App, loader: ScriptedLoader, *files: str) -> None:
    """As a start finds it with this loader first of all."""
    await app.until(lambda: not any(map(asyncio.Queue.qsize, app.kernel.bus._queues[Started])))
    await app.until(lambda: "models:load" not in map(asyncio.Task.get_name, asyncio.all_tasks()))
    await app.kernel.slot().unload()
    add = app.kernel.registry.add
    add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
    await with_files(app, *files)
    [models] = app.kernel.registry.values(MODELS)
    await models.look()
    await app.until(lambda: any(loader.id in file.loaders for file in models.files))
    app.kernel.bus.emit(Started())
    await asyncio.sleep(0)


NEEDS = r"big needs Big \(on disk 1.2 GB\), which is not installed. Choose it in the picker"


async def test_a_start_installs_nothing_for_the_model_used_last(tmp_path: Path):
    file = tmp_path / "state" / "models" / "models.json"
    Memory(file).loaded("big", Choice("folders"))
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        loader, slot, page = BigFolders(Scripted("Big.")), app.kernel.slot(), app.page("/")
        await begun(app, loader, "big/config.json", GUIDE)
        await app.until(lambda: slot.state.state == "ready" and slot.state.name == "guide")
        await app.web.snapshot(page.client)
        await page.until(rf'id="models-trouble" role="alert"><p>{NEEDS} to install it. The guide')
        assert loader.begun == 0
        assert Memory(file).last == "big", "it may be installed yet"
        await page.act("models.load", file="big", loader="folders")
        assert (loader.begun, slot.state.name) == (1, "big"), "a choice in the picker installs"


async def test_a_guide_without_its_engine_does_not_stand_in(tmp_path: Path):
    Memory(tmp_path / "state" / "models" / "models.json").loaded("two.gguf", Choice())
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        loader, page = BigGguf(Scripted("Big.")), app.page("/")
        await begun(app, loader, "two.gguf", GUIDE)
        await app.web.snapshot(page.client)
        await page.until("two.gguf needs Big .*to install it.</p>")
        assert (loader.begun, app.kernel.slot().state.state) == (0, "empty")


async def test_a_first_start_installs_the_engine_of_the_guide(tmp_path: Path):
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        loader, slot = BigGguf(Scripted("Guide.")), app.kernel.slot()
        await begun(app, loader, GUIDE)
        await app.until(lambda: slot.state.state == "ready" and slot.state.name == "guide")
        assert loader.begun == 1


async def test_a_model_named_at_the_start_is_installed_with_a_line_in_the_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        app.kernel.flags = {"kernel": {"model": "big"}}
        loader, slot = BigFolders(Scripted("Big.")), app.kernel.slot()
        await begun(app, loader, "big/config.json", GUIDE)
        await app.until(lambda: slot.state.state == "ready" and slot.state.name == "big")
        assert loader.begun == 1
        assert "big needs Big (on disk 1.2 GB), which is not installed. It is downl" in caplog.text


async def test_what_a_loader_says_stands_beside_its_form():
    async with running("models", model=Scripted("Hi.")) as app:
        await with_files(app, "one.gguf")
        loader = app.kernel.registry.values(LOADERS)[0]
        page = app.page("/")
        await app.web.snapshot(page.client)
        await page.act("models.choose", file="one.gguf")
        await page.until("models-load")
        assert "models-note" not in page.html
        loader.note, loader.about = "A <faster> way.", "/settings/scripted"  # type: ignore[attr-defined]
        await page.act("models.choose", file="one.gguf")
        await page.until(r'A &lt;faster&gt; way\. <a href="/settings/scripted">')


async def test_what_other_extensions_do_with_models():
    async with running("models", model=Scripted("Hi.")) as app:
        await with_files(app, "one.gguf", "two.gguf")
        page = app.page("/")
        await page.act("models.choose", file="two.gguf")  # It looks into the folder.
        [models] = app.kernel.registry.values(MODELS)
        assert [file.name for file in models.files] == ["one.gguf", "two.gguf"]
        assert await models.find("two") == await models.find("two.gguf") == models.files[1]
        assert await models.find("three") is None
        (app.kernel.models / "one").mkdir()
        touch(app.kernel.models, "one/one.gguf")
        await page.act("models.choose", file="one.gguf")
        assert {name: file.name for name, file in models.names.items()} == {
            "one": "one.gguf", "two": "two.gguf", "one/one.gguf": "one/one.gguf",
            "one/": "one",
        }  # fmt: skip
        assert await models.find("one") == await models.find("one.gguf")
        assert shown(models.files[0]) == "one"
        with pytest.raises(Refused, match="not below"):
            await models.load("three.gguf")
        await models.load("two.gguf")
        assert app.kernel.slot().state.name == "two"
        await models.unload()
        assert app.kernel.slot().state.state == "empty"


async def test_names_ask_the_disk_only_where_the_files_have_changed(
    monkeypatch: pytest.MonkeyPatch,
):
    async with running("models", model=Scripted("Hi.")) as app:
        await with_files(app, "one.gguf")
        [models] = app.kernel.registry.values(MODELS)
        await models.look()
        assert [*models.names] == ["one"]
        with monkeypatch.context() as patched:
            patched.setattr(Path, "is_dir", lambda file: pytest.fail(f"{file} was asked for."))
            assert [*models.names] == ["one"]
        touch(app.kernel.models, "two.gguf")
        await models.look()
        assert [*models.names] == ["one", "two"]


async def test_no_more_of_a_context_is_used_than_there_is():
    assert used_of(Usage(10, 3), 4096) == used_of(Usage(10, 3), 0) == 13
    model = Scripted("One two three.")
    model.info = msgspec.structs.replace(model.info, context_length=12)
    async with running("models", model=model) as app:
        page = await app.open("/models")
        await app.say("Count.")
        await page.until("12 context · 12 used")


def test_a_single_token_has_no_speed():
    assert (rate_of(10, 2), rate_of(1, 1e-6), rate_of(0, 1), rate_of(3, 0)) == (5, 0, 0, 0)


async def test_what_becomes_of_the_model_is_told_to_who_cannot_see_it():
    async with running("models", model=Scripted("Hi.")) as app:
        page = await app.open("/")
        await page.until('id="models-say" role="status">scripted is loaded.<')
        await app.kernel.slot().unload()
        await page.until('id="models-say" role="status">No model is loaded.<')
