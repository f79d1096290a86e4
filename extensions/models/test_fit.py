"""Will it fit? The bars of the load form."""

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import pytest

from extensions.engine_kit.api import Fit, Memory, Share
from extensions.models import fit as module
from extensions.models.fit import bar, given_back, unknown
from kernel.api import LOADERS, Loader, Meta, Phase, Struct
from kernel.testing import App, Scripted, ScriptedLoader, running

GB = 10**9
MACHINE = (Memory("", 6 * GB, 8 * GB), Memory("RTX <3060>", 10 * GB, 12 * GB))


class Options(Struct, frozen=True):
    """How much it takes."""

    context_length: Annotated[int, Meta(ge=0, le=100)] = 1


class Weigher(ScriptedLoader):
    """Takes a gigabyte for each token."""

    id = label = "weigher"
    Options = Options

    def __init__(self, model: Scripted) -> None:
        super().__init__(model)
        self.weighed: list[tuple[int, Sequence[Memory]]] = []
        self.gate = threading.Event()
        self.gate.set()

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".heavy"

    def weigh(self, path: Path, options: Options, memories: Sequence[Memory]) -> Fit:
        assert threading.current_thread() is not threading.main_thread()
        self.gate.wait(10)
        self.weighed.append((options.context_length, memories))
        if options.context_length == 13:
            raise RuntimeError("no luck")
        need = options.context_length * GB
        verdict = "fits" if need < memories[0].free else "not"
        said = f"{options.context_length} <tokens>"
        return Fit(verdict, said, (Share(memories[0], 0, need), Share(memories[1], GB)))


def weigher(app: App, monkeypatch: pytest.MonkeyPatch) -> Weigher:
    """It runs on a machine that is scripted, too; the running extension has a module of its own."""
    here = sys.modules["extensions.models.fit"]
    monkeypatch.setattr(here, "memories", lambda: MACHINE)
    loader = Weigher(Scripted("Hi."))
    app.kernel.registry.add(
        LOADERS, cast(Loader, loader), "models", phase=Phase.NORMAL, rank=0, rewrites=False
    )
    return loader


async def chosen(app: App, name: str = "a.heavy") -> Any:
    app.kernel.models.mkdir(exist_ok=True)
    (app.kernel.models / name).write_bytes(b"x" * 1000)
    page = await app.page("/").connect()
    await page.act("models.choose", file=name)
    page.html = ""
    return page


async def test_the_form_asks_and_is_answered_with_bars(monkeypatch: pytest.MonkeyPatch):
    async with running("models", model=Scripted("Hi.")) as app:
        loader = weigher(app, monkeypatch)
        page = await chosen(app)
        await page.act("models.weigh", file="a.heavy", loader="weigher", context_length="3")
        html = await page.until('id="models-fit".*RTX.*</svg>')
        assert "3 &lt;tokens&gt;" in html
        assert "RTX &lt;3060&gt;" in html
        assert "Memory: conversations 3.0 GB, 2.0 GB in use by others, 6.0 GB free" in html
        assert loader.weighed == [(3, list(MACHINE))]
        page.html = ""
        about = {"loader": "weigher", "context_length": "3", "preset": "of another extension"}
        await page.act("models.weigh", file="a.heavy", **about)
        assert "3 &lt;tokens&gt;" in page.html
        page.html = ""
        await page.act("models.weigh", file="a.heavy", loader="weigher", context_length="7")
        assert 'class="models-verdict not"' in page.html
        assert "models-bar over" in page.html
        await page.act("models.weigh", file="a.heavy", loader="weigher", context_length="1000")
        weighed = [length for length, _ in loader.weighed]
        assert 1000 not in weighed, "the form says what is wrong when it is sent"
        assert "1000 &lt;tokens&gt;" not in page.html
        before = len(loader.weighed)
        await page.act("models.weigh", file="gone.heavy", loader="weigher")
        assert len(loader.weighed) == before


async def test_the_bars_stay_when_the_picker_is_drawn_again(monkeypatch: pytest.MonkeyPatch):
    async with running("models", model=Scripted("Hi.")) as app:
        weigher(app, monkeypatch)
        page = await chosen(app)
        await page.act("models.weigh", file="a.heavy", loader="weigher", context_length="3")
        page.html = ""
        await page.act("models.at_start", on="false")
        await page.until("models-picker.*3 &lt;tokens&gt;")


async def test_the_newest_question_wins(monkeypatch: pytest.MonkeyPatch):
    async with running("models", model=Scripted("Hi.")) as app:
        loader = weigher(app, monkeypatch)
        page = await chosen(app)
        loader.gate.clear()
        slow = asyncio.ensure_future(
            page.act("models.weigh", file="a.heavy", loader="weigher", context_length="3")
        )
        await asyncio.sleep(0)
        fast = asyncio.ensure_future(
            page.act("models.weigh", file="a.heavy", loader="weigher", context_length="4")
        )
        await asyncio.sleep(0)
        loader.gate.set()
        await asyncio.gather(slow, fast)
        await page.until("4 &lt;tokens&gt;")
        assert "3 &lt;tokens&gt;" not in page.html


async def test_the_form_of_the_models_own_page_is_answered_there(monkeypatch: pytest.MonkeyPatch):
    async with running("models", model=Scripted("Hi.")) as app:
        loader = weigher(app, monkeypatch)
        page = await chosen(app)
        for at, tokens in (("models", "3"), ("models-page", "4")):
            about = {"file": "a.heavy", "loader": "weigher", "context_length": tokens}
            await page.act("models.weigh", at=at, **about)
        await page.until('id="models-fit".*3 &lt;tokens.*id="models-page-fit".*4 &lt;tokens')
        before = len(loader.weighed)
        await page.act("models.weigh", at="else", file="a.heavy", loader="weigher")
        assert len(loader.weighed) == before, "there is no such form"


async def test_a_model_that_comes_or_goes_changes_what_is_free(monkeypatch: pytest.MonkeyPatch):
    async with running("models", model=Scripted("Hi.")) as app:
        loader = weigher(app, monkeypatch)
        page = await chosen(app)
        await page.act("models.weigh", file="a.heavy", loader="weigher", context_length="2")
        page.html = ""
        await page.act("models.unload")
        await app.until(lambda: len(loader.weighed) == 2)
        await page.until('id="models-fit" role="status" hx-swap-oob.*2 &lt;tokens&gt;')
        page.close()
        await asyncio.sleep(0.01)
        await app.kernel.slot().reload()
        other = await chosen(app)
        await other.act("models.unload")
        await other.until("No model")
        await asyncio.sleep(0.05)
        assert len(loader.weighed) == 2, "nobody looks any more"


async def test_a_loader_that_does_not_tell_or_fails_shows_the_size_of_the_file(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    async with running("models", model=Scripted("Hi.")) as app:
        weigher(app, monkeypatch)
        page = await chosen(app)
        await page.act("models.weigh", file="a.heavy", loader="weigher", context_length="13")
        await page.until("does not tell what a model takes of the memory. Its files have 1.0 KB")
        assert "no luck" in caplog.text
        caplog.clear()
        page = await chosen(app, "b.plain")
        await page.act("models.weigh", file="b.plain", loader="scripted")
        await page.until("does not tell what a model takes")


def test_a_file_that_is_larger_than_what_is_free():
    assert unknown(5 * GB, MACHINE[0]).verdict == "fits"
    assert unknown(7 * GB, MACHINE[0]).verdict == "tight"


def test_what_is_loaded_goes_first(monkeypatch: pytest.MonkeyPatch):
    assert given_back(MACHINE, 0) == list(MACHINE)
    monkeypatch.setattr(module, "used", lambda pid: module.Used(GB, 5 * GB))
    monkeypatch.setattr(module, "held", lambda pid: 2 * GB)
    own, card = given_back(MACHINE, 7)
    assert (own.free, card.free) == (7 * GB, 12 * GB), "files count as free already"
    assert given_back((*MACHINE, MACHINE[1]), 7)[1:] == [MACHINE[1]] * 2, "nobody says of which"
    monkeypatch.setattr(module, "used", lambda pid: None)
    assert given_back(MACHINE, 7) == list(MACHINE), "the process is gone"


def test_a_bar_is_as_long_as_the_memory_or_what_is_wanted():
    fits = bar(Share(MACHINE[0], 2 * GB, GB, GB))
    assert fits["taken"] == {"size": "2.0 GB", "at": 0, "wide": 25}
    assert [(p["name"], p["at"], p["wide"]) for p in fits["parts"]] == [
        ("weights", 25, 25), ("cache", 50, 12.5), ("compute", 62.5, 12.5),
    ]  # fmt: skip
    assert (fits["end"], fits["over"]) == (100, False)
    over = bar(Share(MACHINE[0], 14 * GB))
    assert (over["end"], over["over"], over["parts"][0]["wide"]) == (50, True, 87.5)
    nothing = bar(Share(Memory(), 0))
    assert (nothing["parts"], nothing["end"]) == ([], 0)
