"""Bytes from a hub that misbehaves: whole and right in the end, or not there at all."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from extensions.downloader.fetching import Download, News, Space, Wishes
from extensions.downloader.files import File
from extensions.downloader.pace import Pace
from extensions.downloader.parts import Part
from extensions.downloader.plan import Item, Plan
from extensions.downloader.staging import HIDDEN
from extensions.downloader.trouble import Stopped
from extensions.downloader.way import Way
from extensions.downloader.wire import Home
from tests.hub import Hub, Made, Repo

SIZE = 24_000_000
QUICK = Wishes(unit=0.01, stall=1.0)


@pytest.fixture
def hub(hub: Hub) -> Hub:
    hub.add(Repo("me/mine")).commit({"config.json": "{}", "model.safetensors": Made(SIZE)})
    return hub


def plan_of(hub: Hub, repo: str = "me/mine", folder: str = "me_mine", only: str = "") -> Plan:
    """All files of a repository."""
    commit, files = hub[repo].at("main") or ("", {})
    items = tuple(
        Item(
            file.path,
            f"{hub.address}/{repo}/resolve/{commit}/{file.path}",
            file.size,
            file.sha256 if file.lfs else None,
            file.etag,
        )
        for file in files.values()
        if file.path.endswith(only)
    )
    return Plan(repo, "main", commit, "models", folder, items, f"{hub.address}/{repo}")


def fetch(
    hub: Hub,
    root: Path,
    plan: Plan | None = None,
    wishes: Wishes = QUICK,
    cancelled: Callable[[], bool] = lambda: False,
    auth: str = "",
    pace: Pace | None = None,
    said: list[str] | None = None,
) -> News:
    """One life of a download."""
    home = Home(hub.address, auth)
    work = Download(plan or plan_of(hub), root, home, wishes, pace or Pace(), Space())
    note = said.append if said is not None else lambda note: None
    return work.run(lambda fraction, text: note(text), cancelled)


def whole(hub: Hub, root: Path, repo: str = "me/mine", folder: str = "me_mine") -> bool:
    """Whether all is there, right, and nothing else."""
    _, files = hub[repo].at("main") or ("", {})
    for path, file in files.items():
        data = (root / folder / path).read_bytes()
        if hashlib.sha256(data).hexdigest() != file.sha256:
            return False
    return not (root / HIDDEN).exists()


def left(root: Path) -> list[str]:
    """What can be seen below a root."""
    files = (file for file in root.rglob("*") if file.is_file())
    return sorted(str(f.relative_to(root)) for f in files if HIDDEN not in f.parts)


def test_a_model_is_there_when_all_of_it_is(hub: Hub, tmp_path: Path):
    said: list[str] = []
    news = fetch(hub, tmp_path, said=said)
    assert (news.have, news.done, news.failed) == (SIZE + 2, 2, {})
    assert whole(hub, tmp_path)
    assert hub.sent("model.safetensors") == SIZE
    ranges = [a for a in hub.asked if a.place == "bytes" and "range" in a.headers]
    assert len(ranges) >= 4, "several ranges of one file"
    told = (tmp_path / "me_mine" / "huggingface-metadata.txt").read_text()
    assert f"{hub.address}/me/mine" in told
    assert "model.safetensors" in told


def test_once_more_fetches_nothing(hub: Hub, tmp_path: Path):
    fetch(hub, tmp_path)
    hub.asked.clear()
    news = fetch(hub, tmp_path)
    assert (news.done, hub.asked) == (2, [])
    (tmp_path / "me_mine" / "config.json").write_text("[]")
    fetch(hub, tmp_path)
    assert whole(hub, tmp_path)
    assert hub.sent("model.safetensors") == 0


def test_cut_at_random_offsets(hub: Hub, tmp_path: Path):  # D1
    offsets = random.Random(1).sample(range(SIZE), 20)
    for at in offsets:
        hub.misbehave("cut", "bytes:*.safetensors", at=at)
    news = fetch(hub, tmp_path)
    assert not [fault for fault in hub.faults if fault.times], "each cut came"
    assert news.failed == {}
    assert whole(hub, tmp_path)
    assert hub.sent("model.safetensors") < SIZE * 1.02


def test_it_goes_on_after_a_stop(hub: Hub, tmp_path: Path):
    pace = Pace()
    pace.limit(16e6)
    for quarter in range(1, 4):
        said: list[str] = []

        def enough(quarter: int = quarter, said: list[str] = said) -> bool:
            return bool(said) and news_of(said).have > SIZE * quarter // 4

        with pytest.raises(Stopped):
            fetch(hub, tmp_path, cancelled=enough, pace=pace, said=said)
        assert left(tmp_path) == []
    news = fetch(hub, tmp_path)
    assert news.failed == {}
    assert whole(hub, tmp_path)
    assert news.fetched < SIZE // 3, "what was there was taken up"


def news_of(said: list[str]) -> News:
    """The last of them."""
    return msgspec.json.decode(said[-1], type=News)


def test_what_nobody_wrote_is_not_taken_for_written(tmp_path: Path):
    part = Part(tmp_path / "x.part", "x", 300, hashlib.sha256)
    for _ in range(3):
        part.take(100)
    part.write(1, memoryview(bytes(100)))
    part.close()
    part = Part(tmp_path / "x.part", "x", 300, hashlib.sha256)
    assert part.have == 100
    part.close()
    (tmp_path / "x.part").write_bytes(bytes(99))
    part = Part(tmp_path / "x.part", "x", 300, hashlib.sha256)
    assert part.have == 0
    part.close()


def test_what_was_begun_anew_while_it_was_checked_is_not_right(tmp_path: Path):
    part = Part(tmp_path / "x.part", "x", 3, hashlib.sha256)
    key = part.take(3)
    assert key
    part.write(key, memoryview(b"abc"))
    part.give_back(key)
    assert part.digest() == hashlib.sha256(b"abc").hexdigest()
    part.restart()
    assert not part.settle()
    assert not part.right
    part.close()


def test_a_whole_file_is_not_begun_anew_by_who_looks_for_work(hub: Hub, tmp_path: Path):
    way = Way(Home(), Pace(), 2, 1, 1.0, 0.01)
    file = File(Item("x", f"{hub.address}/x", 3), tmp_path / "x", tmp_path / "x.part", way)
    file.begin()
    assert file.part
    file._single = True  # as of a server that sends no parts
    key = file.take()
    assert key
    assert file.take() is None, "one piece has one thread"
    file.part.write(key, memoryview(b"abc"))
    file.part.give_back(key)
    assert file.take() is None
    assert file.part.whole
    file.part.close()
