"""Adapters on the page: listed, checked and applied."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import structs

from extensions.loras.api import LORAS
from extensions.loras.conftest import LORA
from extensions.models.api import MODELS
from kernel.api import LOADERS, Loader, Phase, Refused, Struct, WorkerDied
from kernel.testing import App, Scripted, ScriptedLoader, running
from tests.engines.tiny import make_lora
from tests.sockets import hear, serving, tell


class Options(Struct, frozen=True):
    """As llama.cpp's."""

    lora: tuple[str, ...] = ()


class Adaptable(Scripted):
    """Answers the call of engines that know adapters."""

    def __init__(self, *, more: bool = True) -> None:
        super().__init__("Hi.", capabilities=("text", "lora") if more else ("text",))
        self.more, self.own, self.read = more, list[tuple[str, float]](), list[str]()
        self.refuses = ""
        self.reads = asyncio.Event()
        """Set where reading an adapter takes no time."""
        self.reads.set()

    async def call(self, name: str, **data: Any) -> Any:
        if name != "adapters":
            return await super().call(name, **data)
        if self.refuses and data.get("paths"):
            raise Refused(self.refuses)
        if data.get("paths"):
            await self.reads.wait()
        if self.died.done():
            raise WorkerDied(self.died.result())
        self.read += data.get("paths", ())
        return {"own": self.own, "more": self.more}

    def die(self, why: str) -> None:
        super().die(why)
        self.reads.set()


class Adapting(ScriptedLoader):
    """Loads a model below models/ with the adapters of its options."""

    id = label = "adapting"
    Options = Options

    def __init__(self, loras: Path, *, more: bool = True) -> None:
        super().__init__(Scripted())
        self.more, self.quick, self._loras = more, True, loras

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf" or path.is_dir()

    async def open(self, path: Path, options: Any, report: Any) -> Adaptable:
        self.model = model = Adaptable(more=self.more)
        self.loads += 1
        if not self.quick:
            model.reads.clear()
        for line in options.lora:
            name, _, weight = line.partition(" = ")
            file = self._loras / name
            found = file if file.is_file() else file.with_name(f"{file.name}.gguf")
            model.own.append((str(found.resolve()), float(weight)))
        if model.own:
            model.info = structs.replace(model.info, capabilities=("text", "lora"))
        model.info = structs.replace(model.info, name=path.stem, loader=self.id, path=str(path))
        return model


@asynccontextmanager
async def served(data: Path, *, more: bool = True, **flags: Any) -> AsyncIterator[Any]:
    """A server with a loader of adapters: the app, the loader, and what is offered."""
    settings = {"models": {"at_start": False}}
    async with running("loras", data=data, settings=settings) as app:
        if flags:
            app.kernel.flags["loras"] = flags
            await app.kernel.restart("loras")
        yield app, adapting(app, more=more), app.kernel.registry.values(LORAS)[0]


def adapting(app: App, *, more: bool = True) -> Adapting:
    """The loader, added to an application."""
    loader, add = Adapting(app.kernel.loras, more=more), app.kernel.registry.add
    add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
    return loader


async def load(app: App, name: str, **options: Any) -> None:
    """As the picker does."""
    [models] = app.kernel.registry.values(MODELS)
    await models.look()
    await models.load(name, "adapting", options)


async def asked(app: App, loader: Adapting) -> tuple[tuple[str, float], ...]:
    """The adapters that a plain request reaches the engine with."""
    await app.say()
    return loader.model.asked[-1].adapters


# --- the list -------------------------------------------------------------------------------


async def test_the_list_tells_what_each_is(data: Path):
    async with served(data) as (_, _, loras):
        there = {each.name: each for each in await loras.there()}
    assert [*there] == ["cut", "deep/er/bard", "pickled", "plays", "plays.gguf", "verse"]
    peft, gguf = there["plays"], there["deep/er/bard"]
    config = json.loads((LORA / "adapter_config.json").read_text())
    assert (peft.form, gguf.form) == ("PEFT", "GGUF")
    assert peft.rank == gguf.rank == str(config["r"])
    assert peft.alpha == gguf.alpha == config["lora_alpha"]
    assert set(peft.targets) == set(config["target_modules"])
    assert gguf.targets == (
        "attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up",
    )  # fmt: skip
    assert peft.base == config["base_model_name_or_path"]
    assert gguf.base == "a llama model"
    assert not peft.trouble
    assert peft.size > 190_000
    assert "Download it again" in there["cut"].trouble
    assert "only in adapter_model.bin" in there["pickled"].trouble
    assert there["pickled"].base == peft.base


async def test_links_that_lead_out_are_refused_and_a_loop_ends(data: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    shutil.copytree(LORA, outside / "folder")
    loras = data / "loras"
    (loras / "file.gguf").symlink_to(outside / "folder" / "lora-shakespeare-f32.gguf")
    (loras / "folder").symlink_to(outside / "folder")
    (loras / "many").symlink_to(outside)
    (loras / "loop").symlink_to(loras)
    (loras / "near.gguf").symlink_to(loras / "plays.gguf")
    (loras / "itself.gguf").symlink_to(loras / "itself.gguf")
    shutil.copytree(LORA, loras / "weights", ignore=shutil.ignore_patterns("*.safetensors"))
    inner = loras / "weights" / "adapter_model.safetensors"
    inner.symlink_to(outside / "folder" / "adapter_model.safetensors")
    async with served(data) as (app, _, offered):
        there = {each.name: each for each in await offered.there()}
        for name in ("file", "folder", "weights"):
            assert "a link that leads out of loras/" in there[name].trouble, name
            assert not there[name].base, "nothing of it was read"
        assert not there["near"].trouble
        assert "cannot be read" in there["itself"].trouble
        assert not [name for name in there if name.startswith(("loop", "many"))]
        await load(app, "one.gguf")
        with pytest.raises(Refused, match="leads out"):
            await offered.apply([("file", 1.0)])
        await offered.apply([("verse", 1.0)])
        assert offered.applied == (("verse", 1.0),)


async def test_a_name_that_no_request_could_have_is_told_in_the_list(data: Path):
    for name in ("what?.gguf", "-x.gguf"):
        shutil.copyfile(data / "loras" / "verse.gguf", data / "loras" / name)
    async with served(data) as (app, _, loras):
        there = {each.name: each for each in await loras.there()}
        await load(app, "one.gguf")
        for name in ("what?", "-x"):
            assert "cannot be the name of a file" in there[name].trouble
            with pytest.raises(Refused, match="cannot be the name of a file"):
                await loras.apply([(name, 1.0)])


async def test_what_comes_and_goes_shows_on_the_page(data: Path):
    async with served(data) as (app, _, _):
        page = await app.open("/models/loras")
        await page.until("No model is loaded. Load one, then")
        await page.until("plays.gguf")
        shutil.copyfile(data / "loras" / "verse.gguf", data / "loras" / "new.gguf")
        (data / "loras" / "verse.gguf").unlink()
        await page.act("loras.look")
        await page.until(">new<")
        assert ">verse<" not in page.html.rpartition('id="loras-list"')[2]
        shutil.rmtree(data / "loras")
        await page.act("loras.look")
        await page.until("There are no adapters yet.")


async def test_what_comes_shows_by_itself_on_a_page_that_was_there_before(data: Path):
    async with served(data) as (app, _, _):
        page = await app.open("/models/loras")
        await app.toggle("loras", on=False)
        await app.toggle("loras", on=True)
        shutil.copyfile(data / "loras" / "verse.gguf", data / "loras" / "new.gguf")
        await page.until(">new<")


async def test_the_folder_is_left_alone_while_an_engine_is_installed_for_another_model(data: Path):
    async with served(data) as (app, _, loras):
        await load(app, "one.gguf")
        await app.until(lambda: loras._views._base)
        looks, views = list[str](), loras._views

        async def look() -> bool:
            looks.append("a look")
            return False

        views.look, state = look, app.kernel.slot().state
        for share in range(3):
            app.kernel.bus.emit(structs.replace(state, note="Installing", fraction=share / 3))
        app.kernel.bus.emit(state)
        await app.until(lambda: looks)
        assert len(looks) == 1, "when it had come"


# --- applying ---------------------------------------------------------------------------------


async def test_several_are_applied_from_the_page_and_removed(data: Path):
    async with served(data) as (app, loader, _):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        await page.until("No adapter is applied to <b>one</b>")
        form = {"use deep/er/bard": "on", "use verse": "on", "weight verse": "0.5",
                "weight deep/er/bard": "", "weight plays.gguf": "3"}  # fmt: skip
        await page.act("loras.apply", reload="false", **form)
        await page.until("Applied to <b>one</b>: deep/er/bard, verse")
        await page.until('loras-status"[^>]*>[^<]*<a[^>]*>\\+ 2 adapters')
        assert await asked(app, loader) == (("deep/er/bard", 1.0), ("verse", 0.5))
        assert [Path(path).name for path in loader.model.read] == ["bard.gguf", "verse.gguf"]
        own = await app.say(adapters=(("verse", 2.0),))
        assert own
        assert loader.model.asked[-1].adapters == (("verse", 2.0),), "a request keeps its own"
        await page.act("loras.remove")
        await page.until("No adapter is applied to <b>one</b>")
        assert await asked(app, loader) == ()
        assert loader.loads == 1, "all of this without loading the model again"


async def test_a_program_applies_them_over_its_websocket(data: Path):
    settings = {"models": {"at_start": False}}
    async with running("loras", "websocket_api", data=data, settings=settings) as app:
        loader = adapting(app)
        await load(app, "one.gguf")
        async with serving(app) as web:
            headers = {"Authorization": f"Bearer {web.key}"}
            async with web.connect(additional_headers=headers) as program:

                async def act(name: str, **fields: str) -> dict[str, Any]:
                    await tell(program, type="act", id="a", action=f"loras.{name}", fields=fields)
                    while (heard := await hear(program))["type"] not in ("acted", "error"):
                        pass
                    return heard

                right = await act("apply", **{"use verse": "on", "weight verse": "0.5"})
                assert right["type"] == "acted"
                assert await asked(app, loader) == (("verse", 0.5),)
                wrong = await act("apply", **{"use cut": "on"})
                assert "Download it again" in wrong["error"]["message"]
                assert await asked(app, loader) == (("verse", 0.5),), "as it was"
                await act("remove")
                assert await asked(app, loader) == ()


BAD: dict[str, tuple[list[Any], str]] = {
    "none": ([["nobody", 1]], "There is no adapter “nobody” below loras/. There: deep/er/bard"),
    "outside": ([["../outside", 1]], "There is no adapter"),
    "cut": ([["cut", 1]], "Download it again"),
    "form": ([["plays", 1]], "plays is in PEFT form, and .* in GGUF form. Look for its GGUF form"),
    "pickle": ([["pickled", 1]], "a format that can run programs"),
    "weight": ([["verse", 1e300]], "must be a number up to 100"),
    "one of them": ([["verse", 1], ["cut", 1]], "Download it again"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_applied_never_reaches_the_engine(data: Path, name: str):
    wish, words = BAD[name]
    async with served(data) as (app, loader, _):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        await page.act("loras.apply", adapters=[["deep/er/bard", 1]])
        loader.model.read.clear()
        await page.act("loras.apply", adapters=wish)
        await page.until(words)
        assert not loader.model.read
        assert await asked(app, loader) == (("deep/er/bard", 1.0),), "what was applied stays"


async def test_too_many_and_no_numbers(data: Path):
    async with served(data) as (app, _, loras):
        with pytest.raises(Refused, match="No model is loaded"):
            await loras.apply([("verse", 1.0)])
        await load(app, "one.gguf")
        with pytest.raises(Refused, match="33 adapters are too many"):
            await loras.apply([(f"a{n}", 1.0) for n in range(33)])
        page = await app.open("/models/loras")
        await page.act("loras.apply", **{"use verse": "on", "weight verse": "much"})
        await page.until("A weight must be a number")
        page.html = ""
        await page.act("loras.apply", **{"use verse": "on", "weight verse": "nan"})
        await page.until("A weight must be a number")


async def test_a_weight_is_typed_as_people_write_it(data: Path):
    async with served(data) as (app, loader, _):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        await page.act("loras.apply", **{"use verse": "on", "weight verse": "0,5"})
        assert await asked(app, loader) == (("verse", 0.5),)
        await page.act("loras.apply", **{"use verse": "on", "weight verse": ""})
        assert await asked(app, loader) == (("verse", 1.0),)


async def test_an_adapter_of_another_model_says_so_in_the_list(data: Path):
    make_lora(data / "loras" / "wide.gguf", width=32)
    foreign = data / "loras" / "foreign"
    shutil.copytree(LORA, foreign)
    raw = (foreign / "adapter_model.safetensors").read_bytes()
    (foreign / "adapter_model.safetensors").write_bytes(raw.replace(b"layers.4.", b"layers.9."))
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        await page.until("wide.gguf does not fit this model: .* has the shape")
        await load(app, "hf")
        await page.until("foreign does not fit this model: it has no model.layers.9")
        await page.until("verse is in GGUF form, and .* in PEFT form. Look for its PEFT form")
        for name in ("wide", "foreign"):
            with pytest.raises(Refused):
                await loras.apply([(name, 1.0)])
        await loras.apply([("plays", 1.0)])
        assert [Path(path).name for path in loader.model.read] == ["plays"]


async def test_of_a_folder_that_holds_both_forms_the_one_that_fits_is_taken(data: Path):
    shutil.copytree(LORA, data / "loras" / "both")
    (data / "loras" / "both" / "cut.gguf").write_bytes(b"GGUF")
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("both", 0.5)])
        assert await asked(app, loader) == (("both/lora-shakespeare-f32", 0.5),)
        await load(app, "hf")
        for name in ("both/lora-shakespeare-f32", "both"):
            await loras.apply([(name, 0.5)])
            assert await asked(app, loader) == (("both", 0.5),)


async def test_what_the_engine_says_is_told_and_changes_nothing(data: Path):
    async with served(data) as (app, loader, _):
        await load(app, "one.gguf")
        loader.model.refuses = "There is not enough memory for it."
        page = await app.open("/models/loras")
        await page.act("loras.apply", adapters=[["verse", 1]])
        await page.until("There is not enough memory for it.")
        assert await asked(app, loader) == ()


async def test_an_adapter_that_was_changed_since_it_was_read_needs_the_model_anew(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 1.0)])
        make_lora(data / "loras" / "verse.gguf", seed=5)
        with pytest.raises(Refused, match="verse was changed since the model read it"):
            await loras.apply([("verse", 0.5)])
        await loras.apply([("deep/er/bard", 1.0)])
        await app.kernel.slot().reload()
        await loras.apply([("verse", 0.5)])
        assert await asked(app, loader) == (("verse", 0.5),)


# --- engines that take them only while they load ------------------------------------------------


async def test_the_model_is_loaded_again_where_the_engine_needs_it(data: Path):
    async with served(data, more=False) as (app, loader, loras):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        await page.until("one takes adapters only while it is loaded: for other ones Apply")
        with pytest.raises(Refused, match="takes adapters only while it is loaded"):
            await loras.apply([("verse", 1.0)])
        assert loader.loads == 1, "a program does not load it again"
        form = {"use verse": "on", "use deep/er/bard": "on", "weight verse": "0.5"}
        await page.act("loras.apply", reload="true", **form)
        await page.until("Applied to <b>one</b>: verse")
        assert loader.loads == 2
        assert loader.model.own[0][1] == 0.5
        both = (("verse", 0.5), ("deep/er/bard", 1.0))
        assert await asked(app, loader) == both
        await loras.apply([("deep/er/bard", 0.25)])
        assert await asked(app, loader) == (("deep/er/bard", 0.25),)
        await page.act("loras.remove")
        assert await asked(app, loader) == (("verse", 0.0),), "a request without any has its own"
        assert loader.loads == 2, "weights of those that are there need no load"
    async with served(data, more=False) as (app, loader, loras):
        await load(app, "one.gguf", lora=["verse = 0.5", "deep/er/bard = 1"])
        assert await asked(app, loader) == (("verse", 0.0),), "they stay removed"
        assert loader.loads == 1


async def test_it_is_loaded_again_for_an_adapter_that_was_changed_meanwhile(data: Path):
    async with served(data, more=False) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 1.0)], reload=True)
        await loras.apply([("verse", 0.5)], reload=True)
        assert loader.loads == 2
        make_lora(data / "loras" / "verse.gguf", seed=5)
        await loras.apply([("verse", 0.5)], reload=True)
        assert loader.loads == 3


async def test_a_model_tells_its_adapters_by_the_names_of_the_list(data: Path):
    (data / "loras" / "near.gguf").symlink_to(data / "loras" / "verse.gguf")
    async with served(data, more=False) as (app, loader, loras):
        await load(app, "one.gguf")
        for name in ("plays.gguf", "near"):
            await loras.apply([(name, 1.0)], reload=True)
            await loras.apply([(name, 0.5)])
            assert loras.applied == ((name, 0.5),)
            await app.kernel.slot().reload()
            assert await asked(app, loader) == ((name, 0.5),)


async def test_what_was_removed_there_stays_removed_after_another_model(data: Path):
    """The load for it saved the option, and it must not bring the adapter back."""
    async with served(data, more=False) as (app, loader, _):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        await page.act("loras.apply", reload="true", **{"use verse": "on", "weight verse": "0.5"})
        await page.until("Applied to <b>one</b>: verse")
        await page.act("loras.remove")
        await page.until("No adapter is applied to <b>one</b>")
        assert "lora:" not in (data / "models" / "config-user.yaml").read_text()
        await load(app, "two.gguf")
        await load(app, "one.gguf")
        assert await asked(app, loader) == ()
        assert loader.model.own == []


async def test_what_was_removed_there_stays_removed_where_the_form_was_saved_before(data: Path):
    async with served(data, more=False) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 0.5)], reload=True)
        page = await app.open("/models/loras")
        await page.act("models.save", file="one.gguf", loader="adapting", lora="verse = 0.5")
        await page.act("loras.remove")
        await load(app, "two.gguf")
        await load(app, "one.gguf")
        assert await asked(app, loader) == ()


async def test_what_was_removed_there_and_applied_again_comes_back_after_another_model(data: Path):
    async with served(data, more=False) as (app, loader, _):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        apply = {"reload": "true", "use verse": "on", "weight verse": "0.5"}
        await page.act("loras.apply", **apply)
        await page.until("Applied to <b>one</b>: verse")
        await page.act("loras.remove")
        await page.act("loras.apply", **apply)
        await load(app, "two.gguf")
        await load(app, "one.gguf")
        assert await asked(app, loader) == (("verse", 0.5),)


async def test_what_the_load_form_named_is_applied(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf", lora=["verse = 0.5"])
        assert await asked(app, loader) == (("verse", 0.5),)
        await loras.apply([])
        assert await asked(app, loader) == (("verse", 0.0),)
        await load(app, "one.gguf", lora=["verse = 0.75"])
        assert await asked(app, loader) == (("verse", 0.75),), "the newer choice counts"


async def test_a_model_without_adapters_says_so(data: Path):
    async with served(data) as (app, _, loras):
        await app.load(Scripted("Hi."))
        page = await app.open("/models/loras")
        await page.until("scripted takes no adapters with its loader")
        with pytest.raises(Refused, match=r"takes no adapters\. Load it with another loader"):
            await loras.apply([("verse", 1.0)])


async def test_nothing_is_added_to_other_slots(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 1.0)])
        await app.kernel.slot("embedding").load(data / "models" / "two.gguf", "adapting")
        assert await app.say(slot="embedding")
        assert app.kernel.slot("embedding").model is loader.model
        assert loader.model.asked[-1].adapters == ()
