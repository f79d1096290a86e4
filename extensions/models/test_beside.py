"""What other extensions show and save in the form of how a model is loaded."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extensions.models.api import BESIDE, MODELS, Beside, ModelFile
from kernel.api import LOADERS, Field, Phase, ToInstall
from kernel.testing import App, Page, Scripted, running

MOOD = Field("mood", "Mood", "", "text", "calm", "", False, "text")
Fields = Callable[[ModelFile], Any]


async def raises(_: ModelFile) -> list[Field]:
    raise ValueError("on purpose")


async def hangs(*_: ModelFile) -> Any:
    await asyncio.Event().wait()


async def nonsense(_: ModelFile) -> Any:
    return None


async def shows(_: ModelFile) -> list[Field]:
    return [MOOD]


@asynccontextmanager
async def chosen(
    monkeypatch: pytest.MonkeyPatch, *fields: Fields, saved: list[Any]
) -> AsyncIterator[tuple[App, Page]]:
    """A page that looks at a model with rows of these extensions."""

    async def save(_: ModelFile, values: Mapping[str, Any]) -> None:
        saved.append(values)

    async with running("models", model=Scripted("Hi.")) as app:
        monkeypatch.setattr(sys.modules["extensions.models.asking"], "PATIENCE", 0.05)
        add = app.kernel.registry.add
        for one in fields:
            beside = Beside(one, save)
            add(BESIDE, beside, "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
        app.kernel.models.mkdir(parents=True, exist_ok=True)
        (app.kernel.models / "one.gguf").write_bytes(b"x")
        await app.kernel.registry.values(MODELS)[0].look()
        page = app.page("/")
        await app.web.snapshot(page.client)
        await page.act("models.choose", file="one.gguf")
        yield app, page


@pytest.mark.parametrize("wrong", [raises, hangs, nonsense])
async def test_rows_that_fail_or_hang_cost_no_others(
    wrong: Fields, monkeypatch: pytest.MonkeyPatch
):
    saved: list[Any] = []
    async with chosen(monkeypatch, wrong, shows, saved=saved) as (app, page):
        await page.until("Mood")
        await page.act("models.save", file="one.gguf", mood="glad")
        assert saved == [{"mood": "glad"}]
        assert not app.kernel.guard._history


async def test_what_was_typed_is_saved_also_where_its_rows_come_once_and_then_too_late(
    monkeypatch: pytest.MonkeyPatch,
):
    answers, saved = asyncio.Semaphore(1), list[Any]()

    async def fields(_: ModelFile) -> list[Field]:
        await answers.acquire()
        return [MOOD]

    async with chosen(monkeypatch, fields, saved=saved) as (_, page):
        await page.until("Mood")
        answers.release()
        await page.act("models.save", file="one.gguf", mood="glad")
        await page.until("Saved. It counts")
        assert saved == [{"mood": "glad"}]


async def test_a_loader_that_cannot_say_what_it_installs_costs_the_form_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
):
    async with chosen(monkeypatch, shows, saved=[]) as (app, page):
        loader: Any = app.kernel.registry.values(LOADERS)[0]

        async def missing() -> ToInstall | None:
            raise OSError("The disk is gone.")

        for loader.missing in (missing, hangs):
            loader.install = hangs
            page.html = ""
            await page.act("models.choose", file="one.gguf")
            await page.until("Mood")
        assert not app.kernel.guard._history


async def test_rows_that_cannot_be_saved_are_told_and_cost_no_extension_its_place(
    monkeypatch: pytest.MonkeyPatch,
):
    async with chosen(monkeypatch, shows, saved=[]) as (app, page):
        [beside] = app.kernel.registry.values(BESIDE)

        async def save(*_: Any) -> None:
            raise ValueError("The file is locked")

        beside.save = save
        await page.act("models.save", file="one.gguf", mood="glad")
        await page.until("mood could not be saved with one.gguf: The file is locked.")
        assert not app.kernel.guard._history
