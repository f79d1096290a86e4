"""Finding the extension that causes trouble: n extensions, ⌈log₂ n⌉ questions, nothing lost."""

import asyncio
import io
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil, log2
from pathlib import Path

import pytest

from extensions.workshop import terminal
from extensions.workshop.bisect import Bisect, Search
from kernel.api import Kernel, Refused, Status
from kernel.testing import App, running

MANIFEST = 'id = "{id}"\nname = "{id}"\nversion = "1"\nsummary = "Tests."\napi = 1\n{more}\n'


def make(root: Path, id: str, *needs: str, code: str = "async def setup(ext): pass") -> str:
    (root / id).mkdir()
    more = f"requires = {{extensions = [{', '.join(map(repr, needs))}]}}" if needs else ""
    (root / id / "extension.toml").write_text(MANIFEST.format(id=id, more=more))
    (root / id / "__init__.py").write_text(code)
    return id


def bisect_of(app: App, file: Path) -> Bisect:
    return Bisect(app.kernel, file, lambda: None)


def on(app: App, ids: list[str]) -> set[str]:
    return {id for id in ids if app.kernel.records[id].is_(Status.RUNNING)}


@pytest.mark.parametrize("n", range(1, 41))
def test_the_culprit_is_found_in_log2_n_steps(n: int):
    order = tuple(f"e{number}" for number in range(n))
    worst = 0
    for culprit in order:
        search = Search(order, -1, n, None)
        while not search.ended:
            assert abs(2 * (len(search.on) - search.low) - (search.high - search.low)) <= 1
            search = search.answered(culprit in search.on)
        assert search.culprit == culprit
        assert search.step - 1 <= search.steps == ceil(log2(n + 1))
        worst = max(worst, search.step - 1)
    assert worst == ceil(log2(n + 1))


@pytest.mark.parametrize("n", range(1, 20))
def test_what_is_wrong_with_all_of_them_off_is_none_of_them(n: int):
    search, tried = Search(tuple(f"e{number}" for number in range(n)), -1, n, None), set[int]()
    while not search.ended:
        tried.add(len(search.on))
        search = search.answered(wrong=True)
    assert search.none
    assert not search.culprit
    assert 0 in tried, "the last one was tried off, too"


async def test_a_search_switches_what_runs_and_writes_no_setting(tmp_path: Path):
    ids = [make(tmp_path, f"e{number}") for number in range(6)]
    ids += [make(tmp_path, "base"), make(tmp_path, "top", "base"), make(tmp_path, "peak", "top")]
    settings = "extensions:\n" + "".join(f"  {id}:\n    enabled: true\n" for id in reversed(ids))
    async with running("workshop", *ids, folders=[tmp_path], settings=settings) as app:
        kernel = app.kernel
        written = kernel.settings.path.read_bytes()
        for culprit in ids:
            before, bisect = kernel.only, bisect_of(app, tmp_path / "state" / "bisect.json")
            await bisect.begin()
            asked = 0
            while bisect.search and not bisect.search.ended:
                running_now = on(app, ids)
                assert running_now == set(bisect.search.on)
                if "peak" in running_now:
                    assert {"top", "base"} <= running_now
                await bisect.answer(bisect.search.step, culprit in running_now)
                asked += 1
            assert bisect.search
            assert bisect.search.culprit == culprit
            assert asked <= ceil(log2(len(ids) + 1))
            lost = {"base": {"base", "top", "peak"}, "top": {"top", "peak"}}.get(culprit, {culprit})
            assert on(app, ids) == set(ids) - lost, "all others are back"
            await bisect.finish(off=False)
            assert on(app, ids) == set(ids)
            assert kernel.only == before
        assert kernel.settings.path.read_bytes() == written
        assert kernel.records["workshop"].is_(Status.RUNNING)
        assert kernel.records["settings"].is_(Status.RUNNING)


async def test_a_search_that_is_stopped_puts_all_back_and_an_answer_counts_once(tmp_path: Path):
    ids = [make(tmp_path, f"e{number}") for number in range(5)]
    async with running("workshop", *ids, folders=[tmp_path]) as app:
        bisect = bisect_of(app, tmp_path / "bisect.json")
        await bisect.begin()
        await bisect.begin()
        await bisect.answer(1, wrong=False)
        await bisect.answer(1, wrong=False)
        assert bisect.search
        assert (bisect.search.step, bisect.search.low) == (2, 2)
        await bisect.finish(off=True)  # nothing was found, so nothing stays off
        assert on(app, ids) == set(ids)
        assert not (tmp_path / "bisect.json").exists()
        assert not app.kernel.settings.path.exists(), "nothing was ever written"


async def test_nobody_can_answer_before_the_step_is_made(tmp_path: Path):
    ids = [make(tmp_path, f"e{number}") for number in range(4)]
    async with running("workshop", *ids, folders=[tmp_path]) as app:
        hasty = set[asyncio.Task[None]]()

        def changed() -> None:
            if bisect.switching:
                hasty.add(asyncio.create_task(bisect.answer(1, wrong=True)))

        bisect = Bisect(app.kernel, tmp_path / "bisect.json", changed)
        await bisect.begin()
        assert hasty
        await asyncio.gather(*hasty)
        assert bisect.search
        assert bisect.search.step == 1
        await bisect.answer(1, wrong=True)
        assert bisect.search.step == 2


async def test_the_culprit_can_be_left_off(tmp_path: Path):
    ids = [make(tmp_path, f"e{number}") for number in range(4)]
    async with running("workshop", *ids, folders=[tmp_path]) as app:
        bisect = bisect_of(app, tmp_path / "bisect.json")
        await bisect.begin()
        while bisect.search and not bisect.search.culprit:
            await bisect.answer(bisect.search.step, "e2" in bisect.search.on)
        await bisect.finish(off=True)
        assert on(app, ids) == set(ids) - {"e2"}
        assert "e2:\n    enabled: false" in app.kernel.settings.path.read_text()


async def test_a_crash_in_the_middle_loses_nothing(tmp_path: Path):
    ids = [make(tmp_path, f"e{number}") for number in range(8)]
    data = tmp_path / "data"
    async with running("workshop", *ids, folders=[tmp_path], data=data) as app:
        page = app.page("/settings/workshop")
        await page.act("workshop.begin")
        await page.act("workshop.answer", step=1, wrong=True)
        half = on(app, ids)
        assert half == {"e0"}
    async with running("workshop", *ids, folders=[tmp_path], data=data) as app:
        page = app.page("/settings/workshop")
        await app.web.snapshot(page.client)
        await page.until(r"One moment.*Is it still wrong\?.*Step 2 of 4")
        assert on(app, ids) == half
        await page.act("workshop.answer", step=2, wrong=False)
        await page.act("workshop.answer", step=3, wrong=False)
        await page.until(r"It is e2")
        assert on(app, ids) == set(ids) - {"e2"}
        await page.act("workshop.finish", off=False)
        assert on(app, ids) == set(ids)


async def test_one_extension_needs_one_question_and_none_a_sentence(tmp_path: Path):
    make(tmp_path, "only")
    async with running("workshop", folders=[tmp_path]) as app:
        page = app.page("/settings/workshop")
        await page.act("workshop.begin")
        await page.until("No extension is on that could be switched off")
        await app.kernel.changes.toggle("only", on=True)
        await page.act("workshop.begin")
        await page.act("workshop.answer", step=1, wrong=False)
        await page.until("It is only")
        await page.act("workshop.finish", off=False)
        assert app.kernel.records["only"].is_(Status.RUNNING)


async def test_what_carries_a_conversation_goes_last(tmp_path: Path):
    loads = (
        "from kernel.api import LOADERS\nfrom kernel.testing import Scripted, ScriptedLoader\n"
        "async def setup(ext): ext.add(LOADERS, ScriptedLoader(Scripted()))"
    )
    ids = [make(tmp_path, "aa"), make(tmp_path, "bb", "cc", code=loads), make(tmp_path, "cc")]
    async with running("workshop", *ids, folders=[tmp_path]) as app:
        bisect = bisect_of(app, tmp_path / "bisect.json")
        await bisect.begin()
        assert bisect.search
        assert bisect.search.order == ("cc", "bb", "aa")
        await bisect.finish(off=False)


async def test_what_cannot_be_tried_ends_honestly_and_the_model_comes_back(tmp_path: Path):
    loads = (
        "from kernel.api import LOADERS\nfrom kernel.testing import Scripted, ScriptedLoader\n"
        "async def setup(ext): ext.add(LOADERS, ScriptedLoader(Scripted()))"
    )
    ids = [make(tmp_path, "aa"), make(tmp_path, "loads", code=loads)]
    async with running("workshop", "models", *ids, folders=[tmp_path]) as app:
        page, slot = app.page("/settings/workshop"), app.kernel.slot()
        await slot.load(tmp_path / "polly.x", "scripted")
        for answers, said in (([True, True], "None of them"), ([True, None], "It cannot be told")):
            await page.act("workshop.begin")
            for step, wrong in enumerate(answers, 1):
                await page.act("workshop.answer", step=step, wrong=wrong)
                page.html = ""
                await page.connect()
            await page.until(said)
            assert on(app, [*ids, "models"]) == {*ids, "models"}, "all run again"
            await page.act("workshop.finish")
            await app.until(lambda: slot.state.state == "ready" and slot.state.name == "polly")
            assert not slot.state.error


async def test_in_a_terminal_a_server_runs_for_each_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ids = [make(tmp_path, f"e{number}") for number in range(5)]
    served: list[set[str]] = []

    @asynccontextmanager
    async def serving(kernel: Kernel, on: list[str]) -> AsyncIterator[None]:
        served.append(set(on))
        answer = "yes\n" if "e3" in on else "no\n"
        monkeypatch.setattr(sys, "stdin", io.StringIO("perhaps\n" + answer))
        yield

    monkeypatch.setattr(terminal, "serving", serving)
    settings = "extensions:\n" + "".join(f"  {id}:\n    enabled: true\n" for id in ids)
    async with running(folders=[tmp_path], settings=settings) as app:
        app.kernel.only = {"settings", "workshop", *ids}
        await terminal.search(app.kernel)
        assert "It is e3." in capsys.readouterr().out
        assert len(served) <= 3
        assert all({"settings", "workshop"} <= on for on in served)
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        with pytest.raises(Refused, match="Nobody answers"):
            await terminal.wrong()


async def test_the_server_of_a_step_runs_with_what_is_on_and_ends(tmp_path: Path):
    data = tmp_path / "data"
    (data / "extensions").mkdir(parents=True)
    make(data / "extensions", "e1", code=LEAVES)
    make(data / "extensions", "e2", code=LEAVES)
    async with running(folders=[data / "extensions"], data=data) as app:
        app.kernel.settings.path.touch()
        async with terminal.serving(app.kernel, ["e1"], "--port", "0"):
            await app.until((data / "e1").exists, 20)
        assert not (data / "e2").exists()


async def test_an_answer_about_a_server_that_did_not_run_ends_the_search(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with running(data=data) as app:
            app.kernel.settings.path.touch()
            port = str(taken.getsockname()[1])

            async def step() -> None:
                async with terminal.serving(app.kernel, ["settings"], "--port", port) as child:
                    await child.wait()

            with pytest.raises(Refused, match="That server did not run, so the search ended"):
                await step()


async def test_a_server_that_crashes_is_an_answer(tmp_path: Path):
    data = tmp_path / "data"
    (data / "extensions").mkdir(parents=True)
    crashes = "import os, signal\nasync def setup(ext): os.kill(os.getpid(), signal.SIGSEGV)"
    make(data / "extensions", "e1", code=crashes)
    async with running(folders=[data / "extensions"], data=data) as app:
        app.kernel.settings.path.touch()
        async with terminal.serving(app.kernel, ["e1"], "--port", "0") as child:
            assert await child.wait() == -signal.SIGSEGV


LEAVES = "async def setup(ext): (ext.data_root / ext.id).touch()"
