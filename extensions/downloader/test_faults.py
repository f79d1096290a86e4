"""What goes wrong with downloads (D1 to D8), and what a hub may try (B16, G61): nothing is lost,
nothing false is published, and nothing is written elsewhere."""

import contextlib
import errno
import hashlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from extensions.downloader import fetching, files, parts
from extensions.downloader.fetching import Download, Space
from extensions.downloader.files import File
from extensions.downloader.news import Wishes
from extensions.downloader.pace import Pace, pause_after
from extensions.downloader.plan import Item, Plan
from extensions.downloader.staging import HIDDEN, groups
from extensions.downloader.test_fetching import (
    QUICK,
    fetch,
    left,
    news_of,
    plan_of,
    whole,
)
from extensions.downloader.trouble import Again, Stopped, seconds
from extensions.downloader.way import Way
from extensions.downloader.wire import Home, Wire
from kernel.api import Refused
from tests.hub import Hub, Made, Repo, answering, listening, serving

ROOT = Path(__file__).resolve().parents[2]
SIZE = 9_000_000
IMPATIENT = Wishes(threads=2, retries=2, unit=0.01, stall=0.3)


@pytest.fixture
def hub(hub: Hub) -> Hub:
    hub.add(Repo("me/mine")).commit({"config.json": '{"a": 1}', "model.safetensors": Made(SIZE)})
    return hub


def stop_at(said: list[str], have: int) -> "threading.Event":
    """Wanted once so many bytes are there."""

    class Enough(threading.Event):
        def is_set(self) -> bool:
            return bool(said) and news_of(said).have > have

    return Enough()


def half(hub: Hub, root: Path, plan: Plan | None = None) -> None:
    """Fetch about a half, and stop."""
    said: list[str] = []
    pace = Pace()
    pace.limit(10e6)
    with pytest.raises(Stopped):
        fetch(hub, root, plan, cancelled=stop_at(said, SIZE // 2).is_set, pace=pace, said=said)


# --- D1: the hub goes and comes back ---


def test_a_file_that_was_right_for_another_revision_is_not_published(hub: Hub, tmp_path: Path):
    """Of the same size, and waiting for a file beside it, when the repository got new ones."""
    hub.misbehave("status", "*config.json", status=404, times=1000)
    assert [*fetch(hub, tmp_path).failed] == ["config.json"]
    hub["me/mine"].commit({"model.safetensors": Made(SIZE, 7)})
    hub.faults.clear()
    assert fetch(hub, tmp_path).failed == {}
    assert whole(hub, tmp_path)


def test_the_hub_may_end_and_begin_again(tmp_path: Path):
    hub = Hub(Repo("me/mine"))
    hub["me/mine"].commit({"model.safetensors": Made(SIZE)})
    with serving(hub):
        ports = [int(address.rpartition(":")[2]) for address in (hub.address, hub.store)]
        half(hub, tmp_path)
    back = threading.Event()

    def come_back() -> None:
        sockets = [listening(port) for port in ports]
        with answering(hub, sockets):
            back.wait()

    thread = threading.Timer(0.1, come_back)
    thread.start()
    try:
        news = fetch(hub, tmp_path, wishes=structs.replace(QUICK, retries=20))
    finally:
        back.set()
        thread.join()
    assert news.failed == {}
    assert whole(hub, tmp_path)
    assert news.fetched < SIZE


# --- D2: never a mixed file ---


def test_a_new_commit_meanwhile_changes_nothing(hub: Hub, tmp_path: Path):
    plan = plan_of(hub)
    wanted = dict(hub["me/mine"].commits[plan.commit])
    half(hub, tmp_path, plan)
    hub["me/mine"].commit({"config.json": "{}", "model.safetensors": Made(SIZE, 77)})
    assert fetch(hub, tmp_path, plan).failed == {}
    data = (tmp_path / "me_mine" / "model.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == wanted["model.safetensors"].sha256


def elsewhere(hub: Hub) -> Plan:
    """An address that names no commit, of a file that nobody says the hash of."""
    item = Item("model.gguf", f"{hub.address}/me/mine/resolve/main/model.gguf", SIZE)
    return Plan("", "", "", "models", "", (item,))


@pytest.mark.parametrize("when", ["between two lives", "in one life"])
def test_a_file_that_changes_is_begun_anew(hub: Hub, tmp_path: Path, when: str):
    hub["me/mine"].commit({"model.gguf": Made(SIZE, 1)})
    plan, new = elsewhere(hub), {"model.gguf": Made(SIZE, 2)}
    if when == "between two lives":
        half(hub, tmp_path, plan)
        hub["me/mine"].commit(new)
        news = fetch(hub, tmp_path, plan)
    else:
        said: list[str] = []
        pace = Pace()
        pace.limit(8e6)
        one = structs.replace(QUICK, threads=1)

        def change() -> bool:
            if said and news_of(said).have > SIZE // 3 and len(hub["me/mine"].commits) == 2:
                hub["me/mine"].commit(new)
                hub.misbehave("status", "bytes:*.gguf", status=403)  # The address is used up.
            return False

        news = fetch(hub, tmp_path, plan, one, change, said=said, pace=pace)
    assert news.failed == {}
    seen = (tmp_path / "model.gguf").read_bytes()
    assert seen == b"".join(Made(SIZE, 2).pieces(0, SIZE))


def test_a_server_that_sends_no_parts(hub: Hub, tmp_path: Path):
    hub.misbehave("whole", "bytes:*", times=1000)
    hub.misbehave("cut", "bytes:*.safetensors", at=SIZE // 2)
    assert fetch(hub, tmp_path).failed == {}
    assert whole(hub, tmp_path)


# --- D3: damage ---


def test_a_flipped_bit_is_found_and_fetched_anew(hub: Hub, tmp_path: Path):
    hub.misbehave("flip", "*.safetensors", at=SIZE // 2)
    assert fetch(hub, tmp_path).failed == {}
    assert whole(hub, tmp_path)


@pytest.mark.parametrize("do", ["flip", "short", "html", "claim"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_what_stays_wrong_is_not_published(hub: Hub, tmp_path: Path, do: str, name: str):
    hub.misbehave(do, f"bytes:*{name}", at=3, times=10_000)  # type: ignore[arg-type]
    news = fetch(hub, tmp_path, wishes=IMPATIENT)
    if do == "claim":
        assert not news.failed or name in news.failed
    else:
        assert name in news.failed
        assert news.failed[name].endswith((".", "again later."))
        assert left(tmp_path) == []


# --- D4: space ---


def test_too_little_space_is_said_before_a_byte_comes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=fetching.SPARE + SIZE - 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Refused, match=r"not enough room.*Free at least 1.0 KB"):
        fetch(hub, tmp_path)
    assert hub.asked == []
    assert left(tmp_path) == []


def test_two_downloads_need_room_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=fetching.SPARE + 150)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    space = Space()
    space.claim(1, tmp_path, lambda: 100)
    with pytest.raises(Refused, match="other downloads"):
        space.claim(2, tmp_path, lambda: 100)
    space.release(1)
    space.claim(2, tmp_path, lambda: 100)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no second disk to be sure of")
def test_downloads_to_two_disks_need_no_room_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=fetching.SPARE + 150)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    space = Space()
    space.claim(1, tmp_path, lambda: 100)
    space.claim(2, Path("/dev"), lambda: 100)


def test_what_a_download_wrote_already_is_not_kept_free_for_it(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A disk that holds both of two models just so takes the second while the first comes."""
    empty, second = shutil.disk_usage(tmp_path), SIZE // 4

    def usage(path: Path) -> object:
        written = sum(file.stat().st_blocks * 512 for file in path.rglob("*.part"))
        return empty._replace(free=fetching.SPARE + SIZE + 2 * second - written)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    said: list[str] = []
    pace, space = Pace(), Space()
    pace.limit(10e6)
    first = Download(plan_of(hub), tmp_path, Home(hub.address), QUICK, pace, space)
    begun = stop_at(said, SIZE // 2).is_set

    def begin_the_second() -> bool:
        if begun():
            space.claim(2, tmp_path, lambda: second)
        return begun()

    with pytest.raises(Stopped):
        first.run(lambda fraction, note: said.append(note), begin_the_second)


def test_a_disk_that_fills_up_pauses_it(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, came = parts.Disk.write, 0

    def write(disk: parts.Disk, at: int, data: memoryview | bytes) -> None:
        nonlocal came
        came += len(data)
        if came > SIZE // 2:
            raise parts.Full from OSError(errno.ENOSPC, "No space left on device")
        real(disk, at, data)

    monkeypatch.setattr(parts.Disk, "write", write)
    news = fetch(hub, tmp_path)
    assert news.full.startswith("The disk is full. Free ")
    assert left(tmp_path) == []
    monkeypatch.undo()
    news = fetch(hub, tmp_path)
    assert not news.full
    assert whole(hub, tmp_path)
    assert news.fetched < SIZE * 0.75, "what was there was kept"


# --- D5: one of many ---


def test_one_shard_fails_and_nothing_looks_ready(hub: Hub, tmp_path: Path):
    names = [f"model-{n:05}-of-00020.safetensors" for n in range(1, 21)]
    hub["me/mine"].commit({"config.json": "{}"} | {name: Made(100_000, 5) for name in names})
    fault = hub.misbehave("status", f"*:*{names[6]}", status=500, times=10_000)
    news = fetch(hub, tmp_path, wishes=IMPATIENT)
    assert [*news.failed] == [names[6]]
    assert "500" in news.failed[names[6]]
    assert news.done == 20
    assert left(tmp_path) == []
    fault.times = 0
    hub.asked.clear()
    assert fetch(hub, tmp_path).failed == {}
    assert {a.path.rpartition("/")[2] for a in hub.asked} == {names[6]}, "only that one"
    assert whole(hub, tmp_path)


def test_shards_of_one_gguf_belong_together_and_others_do_not(hub: Hub, tmp_path: Path):
    files = {"a-00001-of-00002.gguf": 1000, "a-00002-of-00002.gguf": 1000, "b.gguf": 1000}
    hub["me/mine"].commit(files)
    hub.misbehave("status", "*:*a-00002*", status=500, times=10_000)
    fetch(hub, tmp_path, plan_of(hub, folder=""), IMPATIENT)
    assert left(tmp_path) == ["b.gguf"]


# --- D6: two at once, and a hand that deletes ---


def test_two_downloads_of_one_model(hub: Hub, tmp_path: Path):
    ends: list[object] = []
    threads = [threading.Thread(target=lambda: ends.append(fetch(hub, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 2
    assert whole(hub, tmp_path)
    assert hub.sent("model.safetensors") == SIZE, "the second found it in its place"


@pytest.mark.skipif(sys.platform == "win32", reason="its locks have another name")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_downloaded_to(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    import fcntl  # noqa: PLC0415 - only where it exists

    def flock(fd: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    said: list[str] = []

    def waits() -> bool:
        return bool(said) and "under way" in news_of(said).rests

    assert fetch(hub, tmp_path, cancelled=waits, said=said).failed == {}
    assert whole(hub, tmp_path)


def test_the_folder_goes_while_it_is_filled(hub: Hub, tmp_path: Path):
    said: list[str] = []
    pace = Pace()
    pace.limit(20e6)
    gone = threading.Timer(0.2, lambda: shutil.rmtree(tmp_path / HIDDEN))
    gone.start()
    news = fetch(hub, tmp_path, pace=pace, said=said)
    gone.join()
    assert all("Check the disk" in why or "once more" in why for why in news.failed.values())
    assert not news.failed or left(tmp_path) == []
    assert fetch(hub, tmp_path).failed == {}
    assert whole(hub, tmp_path)


@pytest.mark.parametrize("size", [1000, 2000])
def test_another_models_file_of_the_same_name_is_not_written_over(
    hub: Hub, tmp_path: Path, size: int
):
    """As of two fine-tunes of one model, which may even have one size."""
    for who, seed in (("ann", 1), ("bob", 2)):
        hub.add(Repo(f"{who}/tune")).commit({"tune.gguf": Made(1000, seed)})
    plan = plan_of(hub, "bob/tune", folder="")
    hers = b"".join(Made(size, 1).pieces(0, size))
    (tmp_path / "tune.gguf").write_bytes(hers)
    assert "There is a file of this name already" in fetch(hub, tmp_path, plan).failed["tune.gguf"]
    assert (tmp_path / "tune.gguf").read_bytes() == hers
    (tmp_path / "tune.gguf").rename(tmp_path / "hers.gguf")
    assert fetch(hub, tmp_path, plan).failed == {}
    assert whole(hub, tmp_path, "bob/tune", folder="")
    assert left(tmp_path) == ["hers.gguf", "tune.gguf"]


def test_a_file_that_comes_while_one_of_its_name_is_fetched_is_not_written_over(
    hub: Hub, tmp_path: Path
):
    hub.add(Repo("bob/tune")).commit({"tune.gguf": Made(SIZE)})
    plan, hers = plan_of(hub, "bob/tune", folder=""), tmp_path / "tune.gguf"
    said, pace = list[str](), Pace()
    pace.limit(20e6)

    def comes() -> bool:
        if said and news_of(said).have:
            hers.write_bytes(b"hers")
        return False

    for _ in range(2):  # The second time all was fetched before.
        news = fetch(hub, tmp_path, plan, cancelled=comes, pace=pace, said=said)
        assert "There is a file of this name already" in news.failed["tune.gguf"]
        assert hers.read_bytes() == b"hers"
    hers.unlink()
    assert fetch(hub, tmp_path, plan).fetched == 0, "what came is kept"
    assert whole(hub, tmp_path, "bob/tune", folder="")


# --- D7: a hub that is busy, slow or silent ---


def test_it_waits_as_long_as_the_hub_asks_for(hub: Hub, tmp_path: Path):
    hub.misbehave("status", "*.safetensors", status=429, after="30", times=1)
    said: list[str] = []
    began = time.monotonic()
    wishes = structs.replace(QUICK, threads=1)
    assert fetch(hub, tmp_path, wishes=wishes, said=said).failed == {}
    assert time.monotonic() - began >= 0.3, "thirty of its short seconds"
    assert any("busy (429)" in news_of([text]).rests for text in said)


@pytest.mark.parametrize("status", [416, 500, 502, 503, 504])
def test_a_server_with_a_problem_is_asked_again(hub: Hub, tmp_path: Path, status: int):
    hub.misbehave("status", "*.safetensors", status=status, times=3)
    assert fetch(hub, tmp_path).failed == {}
    assert whole(hub, tmp_path)


@pytest.mark.parametrize("store", ["http://store.test:99999", "http://[store.test"])
def test_a_file_that_is_sent_on_to_no_address_fails_alone(
    hub: Hub, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub, "store", store)
    news = fetch(hub, tmp_path, wishes=IMPATIENT)
    assert news.done == 1
    assert "sends the download on to no address" in news.failed["model.safetensors"]
    monkeypatch.undo()
    assert fetch(hub, tmp_path).failed == {}
    assert whole(hub, tmp_path)


def test_a_silent_connection_is_left(hub: Hub, tmp_path: Path):
    hub.misbehave("stall", "*.safetensors", at=SIZE // 2, times=2)
    began = time.monotonic()
    assert fetch(hub, tmp_path, wishes=IMPATIENT).failed == {}
    assert time.monotonic() - began < 3
    assert Wishes().stall <= 30
    assert whole(hub, tmp_path)


def test_slow_is_not_silent_and_what_is_told_is_true(hub: Hub, tmp_path: Path):
    hub["me/mine"].commit({"model.gguf": 2000})
    hub.misbehave("slow", "*.gguf", rate=2000)
    said: list[str] = []
    assert fetch(hub, tmp_path, wishes=IMPATIENT, said=said).failed == {}
    told = [news_of([text]).have for text in said]
    assert sorted(told) == told
    assert any(0 < have < 2000 for have in told)
    assert whole(hub, tmp_path)


def test_waiting_grows_and_is_never_the_same():
    pauses = [pause_after(n, None, 1) for n in range(1, 9)]
    assert all(0.75 * min(2**n, 60) <= p <= 75 for n, p in enumerate(pauses))
    assert len({pause_after(3, None, 1) for _ in range(9)}) > 1
    assert pause_after(3, 7.0, 1) == 7
    assert seconds("12", 0) == 12
    assert seconds("Thu, 01 Jan 1970 00:01:00 GMT", 20) == 40
    assert seconds("999999", 0) == 300
    assert seconds("soon", 0) is None
    assert seconds(None, 0) is None


class Away:
    """A connection to a hub that is not there."""

    def get(self, url: str, headers: dict[str, str]) -> None:
        raise Again("hub.test does not answer", away=True)

    def finish(self) -> None:
        """There is nothing to finish."""


def test_parts_that_fail_together_are_one_try_of_the_file(tmp_path: Path):
    way = Way(Home(), Pace(), threads=4, retries=2, stall=1.0, unit=8.0)
    file = File(Item("x", "http://hub.test/x", 40 << 20), tmp_path / "x", tmp_path / "x.part", way)
    file.begin()
    pauses: list[float] = []
    for _ in range(2):
        keys = [file.take() for _ in range(4)]
        for key in keys:
            file.fetch(key or 0, Away(), memoryview(b""))  # type: ignore[arg-type]
        assert file.state == "open"
        pauses.append(file.ready - time.monotonic())
    assert 5.9 < pauses[0] <= 10 < 11.9 < pauses[1] <= 20, "as long as for a file in one piece"
    assert re.fullmatch(r"hub.test does not answer; trying again in (1\d|20) s", file.rests)
    file.ready -= 5
    assert re.fullmatch(r"hub.test does not answer; trying again in (\d|1[0-5]) s", file.rests)
    file.ready = 0.0
    assert file.rests == "hub.test does not answer; trying again"
    file.fetch(file.take() or 0, Away(), memoryview(b""))  # type: ignore[arg-type]
    assert (file.state, file.away) == ("failed", True)
    assert file.why == "hub.test does not answer, 3 times. Try again later."


def test_a_pace_is_kept():
    now = 0.0
    pace = Pace(lambda: now)
    assert pace.took(1000) == 0
    pace.limit(1000)
    assert pace.took(500) == 0.5
    assert pace.took(500) == 1.0, "who comes later waits behind"
    now = 10.0
    assert pace.took(100) == pytest.approx(0.1)


def test_a_thousand_files_of_a_hub_that_is_away_fail_at_once(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    items = tuple(Item(f"{n}.txt", f"{dead}/{n}", 5) for n in range(1000))
    hub = Hub()
    hub.address = dead
    began = time.monotonic()
    news = fetch(hub, tmp_path, Plan("me/x", "main", "0", "models", "x", items), IMPATIENT)
    assert len(news.failed) == 1000
    assert sum("cannot be reached. Check the network" in why for why in news.failed.values()) > 900
    assert time.monotonic() - began < 5


# --- what a hub may try ---


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "..\\x", "C:x", "a\0b", ".", "a//b"]
)
def test_the_worker_itself_writes_nothing_outside(hub: Hub, tmp_path: Path, path: str):
    root = tmp_path / "models"
    items = (Item(path, f"{hub.address}/me/mine/resolve/main/config.json", 8),)
    with pytest.raises(Refused, match="Nothing was fetched"):
        fetch(hub, root, Plan("me/x", "main", "0", "models", "x", items))
    assert not root.exists()
    assert hub.asked == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("where", ["folder", "file", "staging", "inside"])
def test_nothing_is_written_through_a_link(hub: Hub, tmp_path: Path, where: str):
    root, outside = tmp_path / "models", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (root / "me_mine").mkdir(parents=True)
    match where:
        case "folder":
            (root / "me_mine").rmdir()
            (root / "me_mine").symlink_to(outside)
        case "file":
            (root / "me_mine" / "config.json").symlink_to(outside / "kept")
        case "inside":
            hub["me/mine"].commit({"deep/config.json": "{}"})
            (root / "me_mine" / "deep").symlink_to(outside)
        case _:
            (root / HIDDEN).symlink_to(outside)
    with pytest.raises(Refused, match="is a link"):
        fetch(hub, root)
    assert os.listdir(outside) == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def test_the_token_goes_to_the_hub_alone(hub: Hub, tmp_path: Path):  # G61
    hub.tokens["hf_mine"] = {"me/mine"}
    hub["me/mine"].private = True
    assert fetch(hub, tmp_path, auth="Bearer hf_mine").failed == {}
    by_place = {a.place: a.headers.get("authorization") for a in hub.asked if "gguf" not in a.path}
    assert by_place["hub"] == "Bearer hf_mine"
    for asked in hub.asked:
        if asked.headers["host"] in hub.store:
            assert "authorization" not in asked.headers
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"hf_mine" not in file.read_bytes()[:100_000]
    assert Home("https://huggingface.co", "x").owns("https://huggingface.co:443/a")
    for other in ("http://huggingface.co/a", "https://huggingface.co.evil/a", "https://h/"):
        assert not Home("https://huggingface.co", "x").owns(other)
    assert not Home().owns("https://huggingface.co")


def test_a_token_that_cannot_be_told_stands_in_no_sentence(hub: Hub, tmp_path: Path):
    failed = fetch(hub, tmp_path, auth="Bearer hf_mine\nhf_old").failed
    assert "cannot be asked" in failed["config.json"]
    assert "hf_" not in str(failed)


def test_who_may_not_have_it_is_told_what_to_do(hub: Hub, tmp_path: Path):
    hub["me/mine"].private = True
    why = fetch(hub, tmp_path).failed["config.json"]
    assert "set a token" in why
    hub["me/mine"].private, hub["me/mine"].gated = False, "manual"
    why = fetch(hub, tmp_path).failed["config.json"]
    assert "accept the terms" in why
    assert left(tmp_path) == []


def test_a_file_that_is_not_there(hub: Hub, tmp_path: Path):
    plan = plan_of(hub)
    hub["me/mine"].commits.clear()
    news = fetch(hub, tmp_path, plan)
    assert "not there any more" in news.failed["config.json"]


def test_a_repository_runs_nothing_and_fetches_no_other(hub: Hub, tmp_path: Path):  # D33, D34
    canary = tmp_path / "canary"
    program = f"open({str(canary)!r}, 'w')"
    files = {
        "adapter_config.json": '{"base_model_name_or_path": "me/base"}',
        "config.json": '{"auto_map": {"AutoModel": "modeling.Mine"}}',
        "modeling.py": program,
        "sitecustomize.py": program,
        "pytorch_model.bin": b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR.",
        "README.md": "<script>alert(1)</script>",
    }
    hub["me/mine"].commit(files)
    hub.add(Repo("me/base")).commit({"model.safetensors": 1000})
    assert fetch(hub, tmp_path / "models").failed == {}
    for path, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        assert (tmp_path / "models" / "me_mine" / path).read_bytes() == data
        assert not os.access(tmp_path / "models" / "me_mine" / path, os.X_OK) or os.name == "nt"
    assert not canary.exists()
    assert not [asked for asked in hub.asked if "me/mine" not in asked.path]


def test_a_stop_does_not_wait_for_a_silent_server(hub: Hub, tmp_path: Path):
    hub.misbehave("stall", "*.safetensors", at=1000, times=9)
    began = time.monotonic()

    def wished() -> bool:
        return time.monotonic() - began > 0.3

    with pytest.raises(Stopped):
        fetch(hub, tmp_path, wishes=Wishes(), cancelled=wished)
    assert time.monotonic() - began < 4, "not the twenty seconds after which it would be left"


def test_a_stop_does_not_wait_until_what_was_there_is_hashed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    half(hub, tmp_path)
    way, plan, hashed = Way(Home(hub.address), Pace(), *QUICK.patience), plan_of(hub), list[int]()

    class Stopping:
        """Somebody wishes the end while it hashes."""

        def update(self, data: memoryview) -> None:
            hashed.append(len(data))
            way.stop.set()

    monkeypatch.setattr(files, "hash_of", lambda *_: (Stopping, ""))
    [model] = groups(plan, tmp_path)
    [item] = (item for item in plan.items if item.size == SIZE)
    file = File(item, model.target(item), model.part(item), way)
    file.begin()
    assert file.have > SIZE // 3
    wire = Wire(way.home, way.stall)
    with pytest.raises(Stopped):
        file.fetch(file.take() or 0, wire, memoryview(bytearray(files.WRITE)))
    wire.close()
    assert file.part
    file.part.close()
    assert sum(hashed) <= parts.BUFFER
    monkeypatch.undo()
    assert fetch(hub, tmp_path).failed == {}
    assert whole(hub, tmp_path)


def test_clean_forgets_what_was_begun(hub: Hub, tmp_path: Path):
    half(hub, tmp_path)
    assert fetch(hub, tmp_path, wishes=structs.replace(QUICK, clean=True)).fetched > SIZE
    assert whole(hub, tmp_path)


LIFE = """
import sys, time
from kernel.worker_host import load_code
import msgspec
fetcher = load_code(sys.argv[1] + "/extensions/downloader/fetcher.py:Fetcher")()
fetcher.call("pace", None, None, rate=30e6)
data = msgspec.json.decode(sys.stdin.buffer.read())
print(fetcher.call("fetch", lambda *_: None, lambda: False, **data))
"""


@pytest.mark.long
def test_killed_again_and_again(hub: Hub, tmp_path: Path):  # D1
    size, lives = 60_000_000, 0
    hub["me/mine"].commit({"config.json": "{}", "model.safetensors": Made(size)})
    hub.misbehave("slow", "bytes:*", times=10**6, rate=5_000_000)  # of each of four connections
    plan = msgspec.to_builtins(plan_of(hub))
    data = msgspec.json.encode({"plan": plan, "root": str(tmp_path), "endpoint": hub.address})
    command = [sys.executable, "-c", LIFE, str(ROOT)]
    while not (tmp_path / "me_mine" / "model.safetensors").exists():
        lives += 1
        with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=subprocess.DEVNULL) as process:
            assert process.stdin
            process.stdin.write(data)
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0.4, 1.2))
            process.kill()
    fetch(hub, tmp_path)
    assert whole(hub, tmp_path)
    assert lives > 2
    under_way = 4 * (6 << 20)  # of four connections, in the system's buffers when it was killed
    assert hub.sent("model.safetensors") < size + lives * under_way


LEAN = """
import resource, sys, threading
from pathlib import Path
from extensions.downloader.checking import is_right
from extensions.downloader.plan import Item
file = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
item = Item("x", "", file.stat().st_size, sys.argv[2])
assert is_right(file, item, threading.Event())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it does not tell the most memory")
def test_checking_a_large_file_takes_no_memory(tmp_path: Path):  # D8
    size, file = 200 << 20, tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(size)
    hash = hashlib.sha256()
    for _ in range(size >> 20):
        hash.update(bytes(1 << 20))
    package = "import sys, types; m = types.ModuleType('extensions.downloader'); "
    package += "m.__path__ = ['extensions/downloader']; sys.modules[m.__name__] = m\n"
    command = [sys.executable, "-c", package + LEAN, str(file), hash.hexdigest()]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    assert int(said) * 1024 < 16 << 20


@pytest.mark.long
def test_ten_thousand_files(tmp_path: Path):
    count = 10_000
    command = [sys.executable, "-m", "tests.hub", "1000", str(count)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout
        assert process.stdin
        address = process.stdout.readline().split()[0]
        url = f"{address}/test/large/resolve/main"
        names = [f"{n % 100}/{n}.json" for n in range(count)]
        items = tuple(Item(name, f"{url}/{name}", len(Path(name).stem) + 2) for name in names)
        hub = Hub()
        hub.address = address
        news = fetch(hub, tmp_path, Plan("test/large", "main", "", "models", "x", items))
        process.stdin.close()
    assert (news.done, news.failed) == (count, {})
    assert (tmp_path / "x" / "99" / "9999.json").read_text() == "[9999]"
    assert len(left(tmp_path)) == count + 1


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
def test_any_mixture_of_faults(hub: Hub, tmp_path: Path, seed: int):
    dice = random.Random(seed)
    hub.repos = {"me/mine": Repo("me/mine")}
    sizes = [dice.choice([0, 1, 1000, 300_000, 12_000_000]) for _ in range(dice.randint(1, 5))]
    endings = (".json", ".safetensors")
    hub["me/mine"].commit({f"{n}{dice.choice(endings)}": Made(s, n) for n, s in enumerate(sizes)})
    for _ in range(dice.randint(0, 12)):
        do = dice.choice(
            ["cut", "flip", "stall", "status", "short", "claim", "etag", "html", "whole"]
        )
        at = dice.randrange(12_000_000 if do in ("cut", "flip", "stall") else 5000)
        status = dice.choice([403, 416, 429, 500, 503])
        hub.misbehave(do, "bytes:*", at=at, times=dice.randint(1, 3), status=status)  # type: ignore[arg-type]
    plan = plan_of(hub)
    for _ in range(dice.randint(0, 2)):
        until = time.monotonic() + dice.random() / 2
        wishes = structs.replace(IMPATIENT, threads=dice.randint(1, 6))
        with contextlib.suppress(Stopped):
            fetch(hub, tmp_path, plan, wishes, lambda until=until: time.monotonic() > until)
    news = fetch(hub, tmp_path, plan, structs.replace(IMPATIENT, threads=dice.randint(1, 6)))
    if news.failed:
        assert not any("Check the disk" in why for why in news.failed.values())
        hub.faults.clear()
        assert fetch(hub, tmp_path, plan).failed == {}
    assert whole(hub, tmp_path)
