"""Loads that come to nothing: whose page tells it, and what comes back."""

import asyncio
from pathlib import Path
from typing import Any

from kernel.api import LoadFailed, Refused, WorkerDied
from kernel.testing import Page, Scripted, running
from tests.ggufs import a_gguf

from .test_loading import Engine, Options, having, picking, with_models


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
