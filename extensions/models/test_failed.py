"""Loads that come to nothing: whose page tells it, and what comes back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kernel.api import LoadFailed, Refused, WorkerDied
from kernel.testing import Page, Scripted, running
from tests.ggufs import a_gguf

from .test_loading import Engine, Options, file, having, picking, with_models


class Choosy(Engine):
    """Opens nothing that is named so."""

    async def open(self, path: Path, options: Any, report: Any) -> Scripted:
        if path.stem == "bad":
            raise Refused("It wants a program that is not here.")
        return await super().open(path, options, report)


def here(page: Page) -> str:
    """How the model of a page is loaded, as that was sent last."""
    parts = page.html[page.html.rindex('id="models-here"') :].split("hx-swap-oob", 2)
    return parts[:2][-1]  # Its own, as it came with the page or later; then other parts follow.


async def test_a_failure_is_told_on_the_page_of_its_own_model_until_the_form_is_wrong():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Choosy(model))
        models = await with_models(app, "bad.gguf", "good.gguf")
        for name in ("bad.gguf", "good.gguf"):
            (app.kernel.models / name).write_bytes(a_gguf())
        await app.kernel.slot().unload()
        bad, good = [await app.open(f"/models/file/{name}.gguf") for name in ("bad", "good")]
        await bad.act("models.load", file="bad.gguf", loader="llama_cpp")
        await bad.until('id="models-here".*<p>bad.gguf did not load. It wants a program')
        await app.until(lambda: "models-page-load" in here(good))
        assert "did not load" not in here(good)
        again = await app.open("/models/file/good.gguf")
        assert "did not load" not in here(again)
        await bad.act("models.load", file="bad.gguf", loader="llama_cpp", threads="700")
        await app.until(lambda: "from 0 to 64" in here(bad))
        assert "did not load" not in here(bad), "what is wrong now is beside its field"

        # The former one came back: the failure is still the other's.
        await models.load("good.gguf")
        await bad.act("models.load", file="bad.gguf", loader="llama_cpp")
        await app.until(lambda: "good is loaded again" in here(bad))
        assert "did not load" not in here(good)
        loader.fails = WorkerDied("It crashed again.")
        model.die("The engine crashed.")
        await app.until(lambda: "It crashed again." in here(good))
        await app.until(lambda: "It crashed again." not in here(bad))


async def test_a_load_that_is_cancelled_gives_its_place_back():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf", "two.gguf", "three.gguf")
        await models.load("one.gguf", options={"threads": 3})
        page, slot = await picking(app, "two.gguf"), app.kernel.slot()

        async def loading(name: str) -> "asyncio.Task[None]":
            loader.gate, before = asyncio.Event(), len(loader.asked)
            task = asyncio.create_task(models.load(name))
            await app.until(lambda: len(loader.asked) > before)
            return task

        async def cancelled() -> None:
            cancelling = asyncio.create_task(page.act("models.cancel"))
            await app.until(lambda: loader.asked[-1].threads == 3 or slot.state.state == "empty")
            assert loader.gate
            loader.gate.set()
            await cancelling

        tasks = [await loading("two.gguf"), await loading("three.gguf")]
        assert slot.model is None
        await cancelled()
        assert (slot.state.state, slot.state.name) == ("ready", "one"), "also of two in a row"
        assert loader.asked[-1] == Options(threads=3), "as it was loaded"
        assert slot.state.error == ""

        # Whoever cancels that too wants none; nor does anything come that was gone before.
        tasks.append(await loading("two.gguf"))
        loader.gate = asyncio.Event()
        cancelling = asyncio.create_task(page.act("models.cancel"))
        await app.until(lambda: loader.asked[-1].threads == 3)
        await page.act("models.cancel")
        await cancelling
        assert slot.state.state == "empty"
        tasks.append(await loading("two.gguf"))
        await page.act("models.cancel")
        assert slot.state.state == "empty"
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, LoadFailed) for each in told)


async def test_a_reload_that_is_cancelled_is_not_begun_again():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf")
        await models.load("one.gguf")
        page, slot = await picking(app, "one.gguf"), app.kernel.slot()
        loader.gate = asyncio.Event()
        reloading = asyncio.create_task(page.act("models.reload"))
        await app.until(lambda: len(loader.asked) == 2)
        await page.act("models.cancel")
        await reloading
        assert (slot.state.state, len(loader.asked)) == ("empty", 2)


async def test_what_comes_at_the_second_try_is_saved_and_remembered():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        await with_models(app, "one.gguf")
        await app.kernel.slot().unload()
        page = await picking(app, "one.gguf")
        loader.fails = RuntimeError("The card was busy.")
        await page.act("models.load", file="one.gguf", threads="7")
        assert not file(app).exists()
        loader.fails = None
        await page.act("models.reload")
        memory = app.extension("models").data / "models.json"
        await app.until(lambda: memory.exists() and "one.gguf" in memory.read_text())
        assert "one.gguf$:\n  loader: llama.cpp\n  threads: 7\n" in file(app).read_text()


async def test_what_a_program_asked_for_is_not_saved_at_the_second_try():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf")
        await app.kernel.slot().unload()
        loader.fails = RuntimeError("The card was busy.")
        with pytest.raises(LoadFailed):
            await models.load("one.gguf", options={"threads": 7})
        loader.fails = None
        await app.kernel.slot().reload()
        memory = app.extension("models").data / "models.json"
        await app.until(lambda: memory.exists() and "one.gguf" in memory.read_text())
        assert loader.asked[-1] == Options(threads=7)
        assert not file(app).exists()


async def test_a_model_that_two_programs_want_is_loaded_once():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        having(app, loader := Engine(model))
        models = await with_models(app, "one.gguf")
        await app.kernel.slot().unload()
        page = await picking(app, "one.gguf")
        loader.gate = asyncio.Event()
        chosen = asyncio.create_task(page.act("models.load", file="one.gguf", threads="7"))
        await app.until(lambda: bool(loader.asked))
        wanted = [asyncio.create_task(models.load("one.gguf")) for _ in range(2)]
        wanted[0].cancel()  # It has no patience, and asks again.
        wanted.append(asyncio.create_task(models.load("one.gguf")))
        await asyncio.wait(wanted, timeout=0.05)
        loader.gate.set()
        await asyncio.gather(chosen, *wanted[1:])
        assert loader.asked == [Options(threads=7)]

        loader.gate, loader.fails = asyncio.Event(), Refused("It is cut short.")
        wanted = [asyncio.create_task(models.load("one.gguf"))]
        await app.until(lambda: len(loader.asked) == 2)
        wanted.append(asyncio.create_task(models.load("one.gguf")))
        await asyncio.wait(wanted, timeout=0.05)
        loader.gate.set()
        told = await asyncio.gather(*wanted, return_exceptions=True)
        assert [str(each) for each in told] == ["one.gguf did not load. It is cut short."] * 2


@pytest.mark.parametrize("then", ["models.unload", "models.load"])
async def test_an_unload_that_is_overtaken_is_no_failure(then: str):
    ending, ended = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def close(self) -> None:
            ending.set()
            await ended.wait()
            await super().close()

    async with running("models", model=(model := Slow("Hi."))) as app:
        having(app, Engine(model))
        models = await with_models(app, "one.gguf", "two.gguf")
        ended.set()
        await models.load("one.gguf")
        page = await picking(app, "one.gguf")
        ended.clear()
        ending.clear()
        unloading = asyncio.create_task(page.act("models.unload"))
        await ending.wait()
        if then == "models.unload":
            asked = [asyncio.create_task(models.unload()), asyncio.create_task(page.act(then))]
        else:
            asked = [asyncio.create_task(page.act(then, file="two.gguf"))]
        await asyncio.wait(asked, timeout=0.05)
        ended.set()
        await asyncio.gather(unloading, *asked)
        assert "models" not in app.kernel.trouble
        assert "Another choice replaced this one" not in page.html
        assert app.kernel.slot().state.state == ("ready" if then == "models.load" else "empty")
