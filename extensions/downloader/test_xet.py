"""Files that the hub keeps by Xet, through Xet's real client from a small server of its kind: whole
and right, or as plain bytes, whatever that server says."""

import contextlib
import errno
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec import structs

from extensions.downloader import xet
from extensions.downloader.hub import xet_of
from extensions.downloader.pace import Pace
from extensions.downloader.plan import Item, Plan
from extensions.downloader.planning import _named
from extensions.downloader.test_downloads import downloading
from extensions.downloader.test_fetching import QUICK, fetch, left, news_of, whole
from extensions.downloader.test_fetching import plan_of as plain_plan_of
from extensions.downloader.trouble import Again, Stopped
from extensions.downloader.wire import Home, Wire
from extensions.downloader.xet import Xet
from tests.hub import Hub, Made, Repo

SIZE = 20_000_000
XET = structs.replace(QUICK, xet=True, stall=20)


@pytest.fixture
def hub(hub: Hub) -> Hub:
    hub.add(Repo("me/mine", xet=True)).commit(
        {"config.json": "{}", "model.safetensors": Made(SIZE)}
    )
    return hub


def plan_of(hub: Hub) -> Plan:
    """All files of the model, with Xet's names."""
    plan = plain_plan_of(hub)
    files = hub["me/mine"].commits[plan.commit]
    items = tuple(structs.replace(item, xet=files[item.path].xet) for item in plan.items)
    return structs.replace(plan, items=items)


def came(hub: Hub) -> dict[str, int]:
    """Bytes of the model that went out, by where."""
    asked = [a for a in hub.asked if a.place in ("bytes", "xorb") and "config" not in a.path]
    return {p: sum(a.sent for a in asked if a.place == p) for p in {a.place for a in asked}}


def clients() -> list[psutil.Process]:
    """Xet's clients that run, in this process or below its workers."""
    running: list[psutil.Process] = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if str(xet.CLIENT) in each.cmdline():
                running.append(each)
    return running


def test_it_comes_through_xets_client(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub["me/mine"].gated, hub.tokens = "manual", {"hf_secret": {"me/mine"}}
    said: list[str] = []

    def slower(told: dict[str, Any]) -> None:
        if came(hub).get("xorb") and not hub.faults:
            hub.misbehave("slow", "xorb:*", rate=9_000_000)

    hub.lie = slower
    news = fetch(hub, tmp_path / "m", plan_of(hub), XET, auth="Bearer hf_secret", said=said)
    assert (news.failed, news.aside) == ({}, "")
    assert whole(hub, tmp_path / "m")
    assert [*came(hub)] == ["xorb"]
    assert SIZE < came(hub)["xorb"] < SIZE * 1.02
    assert any(0 < news_of([text]).have < SIZE for text in said), "progress is told"
    assert os.listdir(tmp_path) == ["m"], "nothing is written elsewhere"
    told = [a for a in hub.asked if "hf_secret" in str(a.headers)]
    assert not [a for a in told if a.headers["host"] in hub.store], "the token is the hub's alone"
    assert not [a.path for a in hub.asked if "telemetry" in a.path]
    assert {a.path[:3] for a in hub.asked if a.place == "terms"} == {"v2/"}


def test_a_server_of_the_older_form(hub: Hub, tmp_path: Path):
    hub.forms = ("v1",)
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, "")
    assert whole(hub, tmp_path)
    assert [*came(hub)] == ["xorb"]


@pytest.mark.parametrize(
    "why", ["never", "a limit", "small", "no hash", "not by xet", "no client here"]
)
def test_when_plain_bytes_are_the_way(
    hub: Hub, tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
):
    pace = Pace()
    if why == "no client here":
        monkeypatch.setattr(xet, "find_spec", lambda name: None)
    if why == "a limit":
        pace.limit(1e9)
    if why == "small":
        hub["me/mine"].commit({"config.json": "{}", "model.safetensors": Made(xet.WORTH - 1)})
    if why == "not by xet":
        hub.repos["me/mine"] = repo = Repo("me/mine")
        repo.commit({"config.json": "{}", "model.safetensors": Made(SIZE)})
    plan = plan_of(hub)
    if why == "no hash":
        items = tuple(structs.replace(item, sha256=None) for item in plan.items)
        plan = structs.replace(plan, items=items)
    wishes = QUICK if why == "never" else XET
    news = fetch(hub, tmp_path, plan, wishes, pace=pace)
    assert (news.failed, news.aside) == ({}, "")
    assert whole(hub, tmp_path)
    assert [*came(hub)] == ["bytes"]
    assert not [a for a in hub.asked if "xet" in a.path]


def test_a_limit_that_is_set_meanwhile_counts_at_once(hub: Hub, tmp_path: Path):
    pace, began, had = Pace(), 0.0, 0

    def limit(told: dict[str, Any]) -> None:
        nonlocal began, had
        if "terms" in told and came(hub).get("xorb") and not began:
            began, had = time.monotonic(), came(hub)["xorb"]
            pace.limit(20e6)

    hub.lie = limit
    news = fetch(hub, tmp_path, plan_of(hub), XET, pace=pace)
    assert (news.failed, news.aside) == ({}, "")
    assert time.monotonic() - began >= (SIZE - had) / 20e6 * 0.9
    assert whole(hub, tmp_path)


def test_huggingface_hubs_own_variable_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    assert xet_of("auto")
    assert not xet_of("never")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    assert not xet_of("auto")


def test_plain_bytes_go_on_where_it_fails(hub: Hub, tmp_path: Path):
    def lie(told: dict[str, Any]) -> None:
        if "terms" in told and came(hub).get("xorb", 0) > SIZE // 4:
            hub.misbehave("status", "xorb:*", status=403, times=1000)

    hub.lie = lie
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, xet.INSTEAD)
    assert whole(hub, tmp_path)
    sent = came(hub)
    assert sent["xorb"] > SIZE // 4
    assert sent["xorb"] + sent["bytes"] < SIZE * 1.02, "what had come was kept"


def test_wrong_bytes_are_refused_and_come_plain(hub: Hub, tmp_path: Path):
    hub.misbehave("flip", "xorb:*", at=1_000_000)
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, xet.INSTEAD)
    assert whole(hub, tmp_path)
    assert came(hub)["bytes"] == SIZE


def test_a_server_that_falls_silent_is_left(hub: Hub, tmp_path: Path):
    hub.misbehave("stall", "xorb:*", at=1000, times=1000)
    began = time.monotonic()
    news = fetch(hub, tmp_path, plan_of(hub), structs.replace(XET, stall=0.5))
    assert (news.failed, news.aside) == ({}, xet.INSTEAD)
    assert time.monotonic() - began < 5
    assert whole(hub, tmp_path)
    assert clients() == []


def test_it_stops_at_once_and_goes_on_where_it_was(hub: Hub, tmp_path: Path):
    def lie(told: dict[str, Any]) -> None:
        if "terms" in told and came(hub).get("xorb", 0) > SIZE // 2:
            hub.misbehave("stall", "xorb:*", at=1000, times=1000)
            stalled.set()

    hub.lie, stalled, began = lie, threading.Event(), 0.0

    def cancelled() -> bool:
        nonlocal began
        if stalled.is_set() and not began:
            began = time.monotonic()
        return bool(began) and time.monotonic() - began > 0.3

    with pytest.raises(Stopped):
        fetch(hub, tmp_path, plan_of(hub), structs.replace(XET, stall=30), cancelled)
    assert time.monotonic() - began < 2
    assert clients() == []
    assert left(tmp_path) == []
    hub.faults.clear()
    hub.asked.clear()
    hub.forget_lies()
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, "")
    assert whole(hub, tmp_path)
    assert [*came(hub)] == ["xorb"]
    assert came(hub)["xorb"] < SIZE * 0.7, "what had come was kept"


def test_what_was_begun_of_another_file_of_that_size_goes_at_once(hub: Hub, tmp_path: Path):
    """The repository has a new file meanwhile: nothing of the old one may be kept for it."""

    def slower(told: dict[str, Any]) -> None:
        if came(hub).get("xorb") and not hub.faults:
            hub.misbehave("slow", "xorb:*", rate=2_000_000)

    hub.lie = slower
    with pytest.raises(Stopped):
        fetch(hub, tmp_path, plan_of(hub), XET, lambda: bool(hub.faults))
    hub["me/mine"].commit({"config.json": "{}", "model.safetensors": Made(SIZE, 7)})
    hub.faults.clear()
    hub.asked.clear()
    hub.forget_lies()
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, "")
    assert whole(hub, tmp_path)
    assert SIZE < came(hub)["xorb"] < SIZE * 1.02, "all of the new one, once"


def first(told: dict[str, Any], **change: Any) -> None:
    """Change the first term, or where it is."""
    if "terms" in told:
        told["terms"][0] |= {k: v for k, v in change.items() if k in told["terms"][0]}
        for info in told["fetch_info"].values():
            info[0] |= {k: v for k, v in change.items() if k in info[0]}


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a file": lambda told: first(told, url="file:///etc/passwd"),
    "another host": lambda told: first(told, url="http://127.0.0.1:1/x"),
    "a huge term": lambda told: first(told, unpacked_length=1 << 60),
    "a large term": lambda told: first(told, unpacked_length=(1 << 32) - 1),
    "a short term": lambda told: first(told, unpacked_length=5),
    "a range that is none": lambda told: first(told, range={"start": 0, "end": 1 << 31}),
    "a huge offset": lambda told: told.update(offset_into_first_range=1 << 62),
    "no terms": lambda told: told.update(terms=[]) if "terms" in told else None,
    "terms without end": lambda told: (
        told.update(terms=told["terms"][:1] * 50_000) if "terms" in told else None
    ),
    "no key": lambda told: told.pop("accessToken", ""),
    "a key that is used up": lambda told: told.update(exp=1),
    "a key for ever": lambda told: told.update(exp=1 << 70),
    "xet in a file": lambda told: told.update(casUrl="file:///etc"),
    "xet in a folder": lambda told: told.update(casUrl=f"local://{os.environ['EVIL']}"),
    "xet elsewhere": lambda told: told.update(casUrl="http://127.0.0.1:1"),
    "xet nowhere": lambda told: told.update(casUrl="http://["),
}


ALIKE = ("another host", "a large term", "a huge offset")
"""What others prove too: `xet elsewhere`, `a huge term`, `a range that is none`."""


@pytest.mark.parametrize(
    "lie", [pytest.param(lie, marks=[pytest.mark.long] * (lie in ALIKE)) for lie in LIES]
)
def test_a_hostile_server_costs_nothing_but_time(
    hub: Hub, tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    hub.lie = LIES[lie]
    stall = 2.0 if lie == "terms without end" else 20.0
    news = fetch(hub, tmp_path / "m", plan_of(hub), structs.replace(XET, stall=stall))
    assert news.failed == {}
    assert whole(hub, tmp_path / "m")
    assert news.aside == ("" if lie == "a key for ever" else xet.INSTEAD)
    assert os.listdir(tmp_path) == ["m"]
    assert clients() == []


@pytest.mark.parametrize("more", ["", "\\@xet.test"])
def test_a_hub_in_the_world_sends_nobody_into_the_users_network(
    hub: Hub, tmp_path: Path, more: str, monkeypatch: pytest.MonkeyPatch
):
    """Neither by an address that the client reads otherwise than we do."""
    hub.lie = lambda told: "casUrl" in told and told.update(casUrl=told["casUrl"] + more)
    monkeypatch.setitem(Wire.__init__.__globals__, "_inside", lambda sock: False)
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, xet.INSTEAD)
    assert not [a for a in hub.asked if "reconstructions" in a.path]


def test_a_key_in_a_thousand_brackets_is_none(hub: Hub, tmp_path: Path):
    class Deep(Wire):
        def read(self, view: memoryview) -> int:
            view[:] = b"[" * len(view)
            return len(view)

    wire = Deep(Home(hub.address, ""), 5.0)
    with pytest.raises(Again, match="cannot be read"):
        Xet(plan_of(hub), Home(hub.address, ""), Pace(), tmp_path, 4, 30.0).key(wire)
    wire.close()


@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_hub_that_gives_no_key(hub: Hub, tmp_path: Path, status: int):
    hub.misbehave("status", "key:*", status=status, times=1000)
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, xet.INSTEAD)
    assert whole(hub, tmp_path)


def test_after_one_failure_the_models_that_follow_come_plain_too(hub: Hub, tmp_path: Path):
    """Each is of use by itself, and waiting for a server that is away costs each time."""
    hub.repos["me/mine"] = repo = Repo("me/mine", xet=True)
    repo.commit({name: Made(xet.WORTH, at) for at, name in enumerate(("a.gguf", "b.gguf"))})
    hub.misbehave("status", "key:*", status=404, times=1000)
    news = fetch(hub, tmp_path, structs.replace(plan_of(hub), folder=""), XET)
    assert (news.failed, news.done, news.aside) == ({}, 2, xet.INSTEAD)
    assert sum("xet-read-token" in a.path for a in hub.asked) == 1


def test_the_client_hears_of_no_token_and_writes_in_its_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test")
    told = xet.surroundings(tmp_path)
    assert "hf_secret" not in told.values()
    assert told["HTTPS_PROXY"] == "http://proxy.test"
    assert told["HF_XET_CACHE"] == told["HOME"] == str(tmp_path)
    assert told["HF_XET_LOG_DEST"] == os.devnull


@pytest.mark.parametrize("how", ["is not there", "is killed", "has no package"])
def test_a_client_that_does_not_run(
    hub: Hub, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
):
    client = tmp_path / "client.py"
    client.write_text("import no_such" if how == "has no package" else "import os; os.abort()")
    monkeypatch.setattr(xet, "CLIENT", client)
    if how == "is not there":
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    news = fetch(hub, tmp_path / "m", plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, xet.INSTEAD)
    assert whole(hub, tmp_path / "m")


def test_a_client_that_is_gone_before_it_is_asked(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Windows says so by another error than a broken pipe."""

    class Gone(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.kill()
            assert self.stdin
            self.stdin.close()
            self.stdin = Deaf()

    class Deaf(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(xet.subprocess, "Popen", Gone)
    news = fetch(hub, tmp_path, plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, xet.INSTEAD)
    assert whole(hub, tmp_path)


def test_a_key_that_is_used_up_is_asked_for_anew(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The client writes a half, says that its key is spent, and is begun again behind that."""
    client = tmp_path / "client.py"
    client.write_text(
        "import json, sys, urllib.request as web\n"
        "want = json.loads(sys.stdin.readline())\n"
        f"data = web.urlopen({plan_of(hub).items[1].url!r}).read()\n"
        "middle = want['size'] // 2\n"
        "out = data[want['start']:middle] if want['start'] < middle else data[want['start']:]\n"
        "sys.stdout.buffer.write(out)\n"
        "sys.exit(75 if want['start'] < middle else 0)\n"
    )
    monkeypatch.setattr(xet, "CLIENT", client)
    news = fetch(hub, tmp_path / "m", plan_of(hub), XET)
    assert (news.failed, news.aside) == ({}, "")
    assert whole(hub, tmp_path / "m")
    assert sum("xet-read-token" in a.path for a in hub.asked) == 2


def test_the_client_ends_with_who_asked(hub: Hub, tmp_path: Path):
    """Its input ends with the fetcher, however that ended."""
    hub.misbehave("stall", "xorb:*", at=1000, times=1000)
    plan = plan_of(hub)
    home, item = Home(hub.address, ""), plan.items[1]
    wire = Wire(home, 5.0)
    stream = Xet(plan, home, Pace(), tmp_path, 4, 30.0).open(item, 0, SIZE, wire)
    process = stream._begin()
    while not [a for a in hub.asked if a.place == "xorb"]:
        time.sleep(0.01)
    assert process.stdin
    process.stdin.close()
    assert process.wait(5) == 1
    stream.close()
    wire.close()


def test_an_item_under_its_own_name_is_still_kept_by_xet():
    item = Item("a/b.gguf", "http://x", 1, "0", "e", "name")
    assert _named(item).xet == "name"


# --- as people handle it ---


async def test_the_setting_counts_and_what_failed_is_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    async with downloading(tmp_path, xet="never") as (app, downloads):
        entry = await downloads.start(plan_of(hub))
        await app.until(lambda: entry.state == "done")
        assert [*came(hub)] == ["bytes"]
        await downloads.forget(entry.id)
        hub["me/mine"].commit({"other.safetensors": Made(SIZE, 5)})
        await app.configure("downloader", xet="auto")
        hub.asked.clear()
        entry = await downloads.start(plan_of(hub))
        await app.until(lambda: entry.state == "done")
        assert [*came(hub)] == ["xorb"]
        await downloads.forget(entry.id)
        hub["me/mine"].commit({"third.safetensors": Made(SIZE, 6)})
        hub.misbehave("status", "key:*", status=404, times=1000)
        entry = await downloads.start(plan_of(hub))
        await app.until(lambda: entry.state == "done")
        assert entry.note.endswith(f". {xet.INSTEAD}")


async def test_a_pause_ends_the_client_at_once(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.misbehave("slow", "xorb:*", times=1000, rate=2_000_000)
    async with downloading(tmp_path) as (app, downloads):
        entry = await downloads.start(plan_of(hub))
        await app.until(lambda: any(a.place == "xorb" for a in hub.asked))
        began = time.monotonic()
        await downloads.pause(entry.id)
        await app.until(lambda: not downloads._going)
        await app.until(lambda: not clients())
        assert time.monotonic() - began < 2
        hub.faults.clear()
        await downloads.resume(entry.id)
        await app.until(lambda: entry.state == "done")
        assert [*came(hub)] == ["xorb"]
