"""Downloads as people handle them: begun, paused, in turn, and over the end of the server."""

import asyncio
import hashlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from extensions.downloader import downloads as work
from extensions.downloader import fetcher, worker
from extensions.downloader.api import DOWNLOADS, Downloads
from extensions.downloader.line import Line
from extensions.downloader.news import News
from extensions.downloader.plan import Item, Plan
from extensions.downloader.records import Entry, Kept, Records, duration
from extensions.downloader.trouble import Stopped
from kernel.api import Refused
from kernel.contract import Engine
from kernel.testing import App, running
from tests.hub import Hub, Made, Repo
from tests.test_names import HOSTILE

SIZE = 8_000_000


@pytest.fixture
def hub(hub: Hub) -> Hub:
    for name in ("one", "two", "three"):
        hub.add(Repo(f"me/{name}")).commit({"config.json": "{}", f"{name}.gguf": Made(SIZE)})
    return hub


def plan_of(hub: Hub, name: str) -> Plan:
    """All files of one of them."""
    commit, files = hub[f"me/{name}"].at("main") or ("", {})
    url = f"{hub.address}/me/{name}/resolve/{commit}"
    items = tuple(Item(f.path, f"{url}/{f.path}", f.size, f.sha256) for f in files.values())
    return Plan(f"me/{name}", "main", commit, "models", f"me_{name}", items)


@asynccontextmanager
async def downloading(data: Path, **settings: object) -> AsyncGenerator[tuple[App, Downloads]]:
    """The extension, its worker running in the tests' own Python."""
    async with running(
        "downloader", data=data, settings={"downloader": settings}, python=Path(sys.executable)
    ) as app:
        [downloads] = app.kernel.registry.values(DOWNLOADS)
        yield app, downloads


def models(app: App) -> Path:
    return app.extension("downloader").models


def is_whole(app: App, hub: Hub, name: str) -> bool:
    """Whether a model is there, and right."""
    _, files = hub[f"me/{name}"].at("main") or ("", {})
    file = models(app) / f"me_{name}" / f"{name}.gguf"
    found = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""
    return found == files[f"{name}.gguf"].sha256


async def begun(app: App, entry: Entry) -> None:
    """Wait until a good part of it came."""
    await app.until(lambda: entry.news.have > SIZE // 8)


async def test_from_nothing_to_a_model(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "done")
        assert is_whole(app, hub, "one")
        records = tmp_path / "state" / "downloader" / "downloads"
        await app.until(lambda: not list(records.iterdir()))
        await downloads.forget(entry.id)
        assert downloads.entries == []
        assert is_whole(app, hub, "one"), "what is whole stays"


async def test_paused_and_resumed(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=8.0) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await begun(app, entry)
        assert entry.speed > 0 or entry.left is None
        await downloads.pause(entry.id)
        assert entry.state == "paused"
        await app.until(lambda: not downloads._going)
        assert "Paused at" in entry.note
        assert next(iter(app.kernel.jobs.running.values())).progress.state == "running"
        sent = hub.sent("one.gguf")
        await asyncio.sleep(0.2)
        assert hub.sent("one.gguf") == sent
        await app.configure("downloader", limit=0.0)
        await downloads.resume(entry.id)
        await app.until(lambda: entry.state == "done")
        assert is_whole(app, hub, "one")
        assert entry.news.fetched < SIZE


async def test_while_all_are_paused_nothing_runs_for_them(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(work, "IDLE", 0.05)
    async with downloading(tmp_path, limit=8.0) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await begun(app, entry)
        fetching = downloads._worker
        assert fetching
        await downloads.pause(entry.id)
        await app.until(fetching.died.done)
        await app.configure("downloader", limit=0.0)
        await downloads.resume(entry.id)
        await app.until(lambda: entry.state == "done")
        assert is_whole(app, hub, "one")


async def test_cancelled_and_taken_up_or_forgotten(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=2.0) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await begun(app, entry)
        page = await app.open()
        await page.act("kernel.cancel_job", id=next(iter(app.kernel.jobs.running)))
        await app.until(lambda: entry.state == "cancelled")
        assert not is_whole(app, hub, "one")
        await downloads.resume(entry.id)
        await app.until(lambda: entry.state == "running" and entry.news.have > 0)
        await downloads.cancel(entry.id)
        assert entry.state == "cancelled"
        hidden = models(app) / ".downloads"
        assert hidden.exists()
        await downloads.forget(entry.id)
        assert not hidden.exists()
        with pytest.raises(Refused, match="not in the list"):
            downloads.get(entry.id)


async def test_what_was_given_up_has_left_before_its_folder_is_removed(
    monkeypatch: pytest.MonkeyPatch,
):
    leaves, begun = threading.Event(), threading.Event()

    def slow_to_leave(*_: Any) -> dict[str, Any]:
        begun.set()
        leaves.wait(20)
        raise Stopped

    monkeypatch.setattr(fetcher, "download", slow_to_leave)
    engine = fetcher.Fetcher()

    def call(name: str, id: str) -> "asyncio.Task[Any]":
        said = asyncio.to_thread(engine.call, name, lambda *_: None, lambda: True, id=id)
        return asyncio.create_task(said)

    fetching = call("fetch", "one")
    await asyncio.to_thread(begun.wait, 20)
    left = call("left", "one")
    await call("left", "two")
    assert not (await asyncio.wait({left}, timeout=0.2))[0]
    leaves.set()
    await left
    await fetching


def test_what_was_given_up_before_it_began_leaves_no_folder(hub: Hub, tmp_path: Path):
    plan = msgspec.to_builtins(plan_of(hub, "one"))
    data = {"plan": plan, "root": str(tmp_path / "models"), "endpoint": hub.address, "id": "one"}
    assert fetcher.Fetcher().call("fetch", lambda *_: None, lambda: True, **data) is None
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("engine", [fetcher.Fetcher, worker.Hub])
def test_a_processor_is_left_alone_while_a_call_is_open(engine: type[Engine]):
    """The host polls again at once for as long as one is."""
    began = time.monotonic()
    assert engine().poll(0.05) == ()
    assert time.monotonic() - began >= 0.05


async def test_the_end_of_the_server_is_a_pause(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=2.0) as (app, downloads):
        first = await downloads.start(plan_of(hub, "one"))
        second = await downloads.start(plan_of(hub, "two"))
        await begun(app, first)
        await downloads.pause(second.id)
    async with downloading(tmp_path, limit=0.0) as (app, downloads):
        first, second = downloads.entries
        await app.until(lambda: first.state == "done")
        assert second.state == "paused"
        assert second.news.have > 0
        assert first.news.fetched < SIZE
        await downloads.resume(second.id)
        await app.until(lambda: second.state == "done")
        assert is_whole(app, hub, "one")
        assert is_whole(app, hub, "two")


async def test_a_record_without_its_job_is_taken_up(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=1.0) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "running")
    shutil.rmtree(tmp_path / "jobs")
    async with downloading(tmp_path, limit=0.0) as (app, downloads):
        [entry] = downloads.entries
        await app.until(lambda: entry.state == "done")


async def test_what_failed_is_told_and_tried_again(hub: Hub, tmp_path: Path):
    fault = hub.misbehave("status", "*one.gguf", status=404, times=1000)
    async with downloading(tmp_path) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "failed")
        assert "one.gguf" in entry.kept.why
        assert "What was fetched is kept" in entry.kept.why
        assert [*entry.kept.failed] == ["one.gguf"]
    async with downloading(tmp_path) as (app, downloads):
        [entry] = downloads.entries
        assert entry.state == "failed"
        assert "not there any more" in entry.news.failed["one.gguf"]
        fault.times = 0
        hub.asked.clear()
        await downloads.retry(entry.id)
        await app.until(lambda: entry.state == "done")
        assert {asked.path.rpartition("/")[2] for asked in hub.asked} == {"one.gguf"}
        assert is_whole(app, hub, "one")


@contextmanager
def unwritable(folder: Path) -> Generator[None]:
    """A folder in which nothing can be written, as on a full disk."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("")
    yield
    folder.unlink()


async def test_what_cannot_be_noted_is_not_in_the_list(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path) as (app, downloads):
        with (
            unwritable(tmp_path / "state" / "downloader" / "downloads"),
            pytest.raises(Refused, match=r"me/one was not begun: .* Free some space"),
        ):
            await downloads.start(plan_of(hub, "one"))
        assert downloads.entries == []
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "done")


async def test_what_cannot_be_begun_has_failed_and_is_tried_again(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path) as (app, downloads):
        with unwritable(tmp_path / "jobs"):
            with pytest.raises(Refused, match="was not begun"):
                await downloads.start(plan_of(hub, "one"))
            [entry] = downloads.entries
            with pytest.raises(Refused, match="was not begun"):
                await downloads.retry(entry.id)
            assert entry.state == "failed"
            assert "Free some space" in entry.kept.why
        await downloads.retry(entry.id)
        await app.until(lambda: entry.state == "done")
        assert is_whole(app, hub, "one")


async def test_what_cannot_be_taken_up_after_a_restart_has_failed(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=1.0) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "running")
    with unwritable(tmp_path / "jobs"):
        async with downloading(tmp_path) as (app, downloads):
            [entry] = downloads.entries
            await app.until(lambda: entry.state == "failed")


async def test_another_try_asks_the_mirror_that_was_set_meanwhile(hub: Hub, tmp_path: Path):
    hub["me/one"].private = True
    hub.tokens["hf_mine"] = {"me/one"}
    away = "http://127.0.0.1:9"
    plan = plan_of(hub, "one")
    items = [structs.replace(i, url=i.url.replace(hub.address, away)) for i in plan.items]
    plan = structs.replace(plan, items=tuple(items), source=f"{away}/me/one")
    async with downloading(tmp_path, retries=0, endpoint=away) as (app, downloads):
        entry = await downloads.start(plan)
        await app.until(lambda: entry.state == "failed")
        await app.configure("downloader", endpoint=hub.address, token="hf_mine")
        await downloads.retry(entry.id)
        await app.until(lambda: entry.state == "done")
        assert is_whole(app, hub, "one")


async def test_a_hub_that_a_link_named_stays_the_one_and_is_told_no_token(hub: Hub, tmp_path: Path):
    plan = structs.replace(plan_of(hub, "one"), source=f"{hub.address}/me/one")
    async with downloading(tmp_path, endpoint="http://127.0.0.1:9") as (app, downloads):
        await app.configure("downloader", token="hf_mine")
        entry = await downloads.start(plan, hub.address)
        await app.until(lambda: entry.state == "done")
        assert not any("authorization" in asked.headers for asked in hub.asked)


async def test_nothing_is_said_to_be_kept_where_nothing_came(hub: Hub, tmp_path: Path):
    hub.misbehave("status", "*", status=404, times=1000)
    async with downloading(tmp_path) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "failed")
        assert "2 of 2 files" in entry.kept.why
        assert "kept" not in entry.kept.why


async def test_a_failure_is_kept_though_the_server_ends_at_once(hub: Hub, tmp_path: Path):
    hub.misbehave("status", "*one.gguf", status=404, times=1000)
    async with downloading(tmp_path) as (app, downloads):
        keep = downloads._records.keep

        def slowly(entry: Entry) -> None:
            if entry.state == "failed" and not downloads._ended:
                time.sleep(1)
                return  # It never got that far.
            keep(entry)

        downloads._records.keep = slowly
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "failed")
    async with downloading(tmp_path) as (app, downloads):
        assert [entry.state for entry in downloads.entries] == ["failed"]


async def test_a_worker_that_dies_is_replaced(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=8.0) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await begun(app, entry)
        assert downloads._worker
        os.kill(downloads._worker._process.transport.get_pid(), signal.SIGKILL)
        await app.configure("downloader", limit=0.0)
        await app.until(lambda: entry.state == "done")
        assert is_whole(app, hub, "one")
        assert entry.news.fetched < SIZE, "what was written before the end was taken up"


async def test_each_waits_for_its_turn(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, at_once=1, limit=8.0) as (app, downloads):
        plans = [plan_of(hub, name) for name in ("one", "two", "three")]
        one, two, three = [await downloads.start(plan) for plan in plans]
        await begun(app, one)
        assert (two.state, three.state) == ("waiting", "waiting")
        await downloads.pause(one.id)
        await app.until(lambda: two.state == "running")
        await downloads.resume(one.id)
        assert (one.state, two.state, three.state) == ("waiting", "running", "waiting")
        await app.configure("downloader", at_once=3, limit=0.0)
        await app.until(lambda: {e.state for e in downloads.entries} == {"done"})
        assert all(is_whole(app, hub, name) for name in ("one", "two", "three"))


async def test_a_pause_while_it_waits_lasts(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, at_once=1, limit=8.0) as (app, downloads):
        plans = [plan_of(hub, name) for name in ("one", "two", "three")]
        one, two, three = [await downloads.start(plan) for plan in plans]
        await begun(app, one)
        await downloads.pause(two.id)
        await downloads.pause(one.id)
        await app.until(lambda: three.news.have > 0)
        assert (one.state, two.state, three.state) == ("paused", "paused", "running")
        notes = [job.progress.note for job in app.kernel.jobs.running.values()]
        assert "Paused at 0 bytes of 8.0 MB" in notes
        await downloads.cancel(three.id)
        await downloads.resume(two.id)
        await app.until(lambda: two.state == "running")


@contextmanager
def held(downloads: Downloads) -> Generator[None]:
    """What is to be written of them waits until the end of this, as for a slow disk."""
    gate, keep = threading.Event(), downloads._records.keep

    def late(entry: Entry) -> None:
        gate.wait(20)
        keep(entry)

    downloads._records.keep = late
    yield
    downloads._records.keep = keep
    gate.set()


async def test_a_pause_while_it_is_noted_that_it_goes_on_lasts(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, at_once=1, limit=8.0) as (app, downloads):
        one = await downloads.start(plan_of(hub, "one"))
        await begun(app, one)
        await downloads.pause(one.id)
        await app.until(lambda: not downloads._going)
        with held(downloads):
            wishes = [asyncio.create_task(downloads.resume(one.id))]
            await app.until(lambda: one.state != "paused")
            wishes += [asyncio.create_task(downloads.pause(one.id))]
            await app.until(lambda: one.state == "paused")
        await asyncio.gather(*wishes)
        await app.configure("downloader", limit=0.0)
        two = await downloads.start(plan_of(hub, "two"))
        await app.until(lambda: two.state == "done")
        assert one.state == "paused"
        await downloads.resume(one.id)
        await app.until(lambda: one.state == "done")


async def test_what_is_removed_while_its_end_is_noted_does_not_come_back(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=8.0) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await begun(app, entry)
        with held(downloads):
            wishes = [asyncio.create_task(downloads.cancel(entry.id))]
            await app.until(lambda: entry.state == "cancelled")
            wishes += [asyncio.create_task(downloads.forget(entry.id))]
            await app.until(lambda: not (models(app) / ".downloads").exists())
        await asyncio.gather(*wishes)
    async with downloading(tmp_path) as (app, downloads):
        assert downloads.entries == []


async def test_the_pace_is_for_all_together(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=4.0) as (app, downloads):
        clock = asyncio.get_running_loop().time
        began = clock()
        entries = [await downloads.start(plan_of(hub, name)) for name in ("one", "two")]
        await app.until(lambda: sum(e.news.have for e in entries) > 6_000_000)
        at_once = 8 * 200_000  # Each of 8 connections reads a portion before it first rests.
        assert clock() - began > (6_000_000 - at_once) / 4_000_000
        shares = sorted(e.news.have for e in entries)
        assert shares[0] > shares[1] / 3, "neither starves"


async def test_the_same_is_not_fetched_twice(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path, limit=2.0) as (_, downloads):
        plan = plan_of(hub, "one")
        entry = await downloads.start(plan)
        assert await downloads.start(plan) is entry
        other = structs.replace(plan, commit="f" * 40)
        with pytest.raises(Refused, match="to the same place"):
            await downloads.start(other)
        await downloads.cancel(entry.id)
        await downloads.start(other)
        assert len(downloads.entries) == 1


def halves(hub: Hub) -> tuple[Plan, Plan, Plan]:
    """A model of two files, and a download of each: all go to one folder."""
    hub.add(Repo("me/two")).commit({"Q4.gguf": Made(SIZE, 4), "Q8.gguf": Made(SIZE, 8)})
    whole = plan_of(hub, "two")
    first, second = (structs.replace(whole, items=(item,)) for item in whole.items)
    return whole, first, second


async def test_a_paused_download_keeps_its_bytes_when_another_to_its_folder_ends(
    hub: Hub, tmp_path: Path
):
    _, first, second = halves(hub)
    async with downloading(tmp_path, limit=8.0) as (app, downloads):
        paused = await downloads.start(first)
        await begun(app, paused)
        await downloads.pause(paused.id)
        await app.until(lambda: not downloads._going)
        await app.configure("downloader", limit=0.0)
        other = await downloads.start(second)
        await app.until(lambda: other.state == "done")
        sent, had = hub.sent("Q4.gguf"), paused.news.have
        assert had > SIZE // 8
        await downloads.resume(paused.id)
        await app.until(lambda: paused.state == "done")
        assert hub.sent("Q4.gguf") - sent <= SIZE - had
        assert not (models(app) / ".downloads").exists()


async def test_one_file_of_a_failed_download_may_be_fetched_alone(hub: Hub, tmp_path: Path):
    whole, _, second = halves(hub)
    fault = hub.misbehave("status", "*Q8.gguf", status=404, times=1000)
    async with downloading(tmp_path) as (app, downloads):
        failed = await downloads.start(whole)
        await app.until(lambda: failed.state == "failed")
        fault.times = 0
        alone = await downloads.start(second)
        await app.until(lambda: alone.state == "done")
        assert downloads.entries == [failed, alone]
        hub.asked.clear()
        await downloads.retry(failed.id)
        await app.until(lambda: failed.state == "done")
        assert hub.asked == [], "all of it was there"


async def test_what_another_fetches_is_not_gone_on_with_beside_it(hub: Hub, tmp_path: Path):
    whole, first, _ = halves(hub)
    async with downloading(tmp_path, limit=2.0) as (_, downloads):
        both = await downloads.start(whole)
        await downloads.cancel(both.id)
        await downloads.start(first)
        with pytest.raises(Refused, match=r"Q4.gguf.* to the same place"):
            await downloads.resume(both.id)
        assert both.state == "cancelled"


@pytest.mark.parametrize("after", ["paused", "running"])
async def test_remove_takes_away_its_own_bytes_alone(hub: Hub, tmp_path: Path, after: str):
    """Those that another has in common with it stay, also while that other is at work."""
    whole, first, _ = halves(hub)
    async with downloading(tmp_path, limit=8.0) as (app, downloads):
        both = await downloads.start(whole)
        await app.until(lambda: len(both.news.now) == 2)
        await downloads.cancel(both.id)
        other = await downloads.start(first)
        await begun(app, other)
        if after == "paused":
            await downloads.pause(other.id)
            await app.until(lambda: not downloads._going)
        await asyncio.wait_for(downloads.forget(both.id), 5)
        assert (downloads.entries, other.state) == ([other], after)
        [part] = (models(app) / ".downloads").glob("*/*.part")
        await app.configure("downloader", limit=0.0)
        await downloads.resume(other.id)
        await app.until(lambda: other.state == "done")
        assert not part.parent.parent.exists()


async def test_two_clicks_at_once_begin_one_download(hub: Hub, tmp_path: Path):
    async with downloading(tmp_path) as (app, downloads):
        plan = plan_of(hub, "one")
        entry, same = await asyncio.gather(downloads.start(plan), downloads.start(plan))
        assert downloads.entries == [entry]
        assert same is entry
        await app.until(lambda: entry.state == "done")


async def test_hostile_names_are_refused_before_a_byte_comes(hub: Hub, tmp_path: Path):  # B16, B21
    url = f"{hub.address}/me/one/resolve/main/config.json"
    async with downloading(tmp_path) as (app, downloads):
        for name in HOSTILE:
            for path, folder in ((name, "x"), (f"deep/{name}", "x"), ("config.json", name)):
                plan = Plan("me/one", "main", "0", "models", folder, (Item(path, url, 2),))
                if folder:
                    with pytest.raises(Refused):
                        await downloads.start(plan)
        assert hub.asked == []
        assert downloads.entries == []
        assert not (models(app) / ".downloads").exists()


async def test_a_line():
    room = 1
    line, had = Line(lambda: room), list[str]()

    async def wait(name: str) -> None:
        line.join(name)
        await line.turn(name)
        had.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert had == ["a"]
    line.leave("b")
    line.leave("a")
    await asyncio.sleep(0.01)
    assert had == ["a", "c"]
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_speed_and_time_left_are_of_what_comes_now():
    item = Item("m", "", 1_000_000)
    entry = Entry("1", Kept(Plan("me/m", "main", "0", "models", "", (item,)), state="running"))
    assert entry.left is None
    entry.hear(News(500_000, 1_000_000, 0, 1, fetched=0), 100.0)
    assert entry.left is None, "what was there before is no speed"
    for second in range(1, 21):
        entry.hear(
            News(500_000 + second * 1000, 1_000_000, 0, 1, fetched=second * 1000), 100 + second
        )
    assert entry.speed == pytest.approx(1000)
    assert entry.left == pytest.approx(480)
    assert entry.note == "520 KB of 1.0 MB, 1.0 KB/s, 8 min left"
    entry.hear(News(520_000, 1_000_000, 0, 1, fetched=20_000, rests="It rests"), 121.0)
    assert (entry.note, entry.speed, entry.left) == ("It rests", 0, None)
    entry.hear(News(520_000, 1_000_000, 0, 1, fetched=20_000), 122.0)
    entry.hear(News(522_000, 1_000_000, 0, 1, fetched=22_000), 123.0)
    assert entry.speed == pytest.approx(2000), "a rest is no slowness"
    entry.still()
    assert entry.left is None
    assert [duration(s) for s in (0.2, 89, 600, 7200)] == ["1 s", "89 s", "10 min", "2.0 h"]


def test_a_record_that_is_damaged_hides_no_other(tmp_path: Path):
    records = Records(tmp_path)
    kept = Kept(Plan("me/m", "main", "0", "models", "", (Item("m", "", 5),)), state="paused")
    entry = records.add(kept)
    (tmp_path / "7.json").write_text("{")
    again = Records(tmp_path)
    again.load()
    assert [*again.entries] == [entry.id]
    assert again.entries[entry.id].kept == kept
    assert msgspec.json.decode((tmp_path / f"{entry.id}.json").read_bytes(), type=Kept) == kept
