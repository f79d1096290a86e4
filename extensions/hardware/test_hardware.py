"""The machine on the Model page, on machines that are made of files."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import Card, Memory, Used
from extensions.hardware.reading import Process, Reader, Reading, Running, Ticks, share
from extensions.hardware.views import bar, view
from kernel.testing import App, Scripted, running

GB = 10**9
CPU = "processor\t: 0\nmodel name\t: Some  CPU <9000>\nflags\t: fpu\n"
STAT = "cpu  {busy} 0 0 {idle} 10 0 0 0 99 99\ncpu0 1 2 3\n"


def machine(root: Path, busy: int = 100, idle: int = 200) -> Path:
    said = {
        "cpuinfo": CPU,
        "stat": STAT.format(busy=busy, idle=idle),
        "meminfo": "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n",
        "7/status": "RssAnon: 1000000 kB\nRssFile: 500000 kB\nRssShmem: 0 kB\n",
    }
    for name, content in said.items():
        path = root / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_a_look_at_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    reader, model = Reader(machine(tmp_path)), Running("chat", "guide", 7)
    first = reader.look([model, Running("embedding", "gone", 8)])
    assert first.name == "Some CPU <9000>"
    assert first.busy is None, "nothing to compare with"
    assert first.memory == Memory("", 6_000_000 << 10, 8_000_000 << 10)
    assert first.processes == (Process(model, Used(1_000_000 << 10, 500_000 << 10)),)
    machine(tmp_path, busy=130, idle=260)
    assert reader.look([]).busy == 33


def test_a_machine_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    now = Reader(tmp_path).look([Running("chat", "guide", 2**22 + 1)])
    assert now.name
    assert now.cores > 0
    assert (now.busy, now.cards, now.processes) == (None, (), ())
    assert now.memory.total > 0


@pytest.mark.parametrize(
    ("before", "now", "busy"),
    [
        (Ticks(), Ticks(50, 100), None),
        (Ticks(50, 100), Ticks(50, 100), None),
        (Ticks(50, 100), Ticks(75, 200), 25),
        (Ticks(50, 100), Ticks(40, 110), 0),
        (Ticks(50, 100), Ticks(90, 110), 100),
    ],
)
def test_how_busy_it_is(before: Ticks, now: Ticks, busy: int | None):
    assert share(before, now) == busy


def test_bars_hold_what_models_and_others_take():
    assert bar(Memory("", 2 * GB, 8 * GB), 4 * GB) == {
        "total": "8.0 GB",
        "free": "2.0 GB",
        "model": {"size": "4.0 GB", "wide": 50.0},
        "others": {"size": "2.0 GB", "wide": 25.0},
    }
    assert bar(Memory("", 2 * GB, 8 * GB), 9 * GB)["others"]["wide"] == 0
    assert bar(Memory(), 0)["model"]["wide"] == 0


def test_of_several_cards_nobody_says_which_one_a_model_is_on():
    card = Card(Memory("RTX", GB, 8 * GB), 12, 51)
    process = Process(Running("chat", "guide", 7), Used(GB, 0), 3 * GB)
    one, two = (view(Reading("CPU", 2, 5, Memory("", GB, 8 * GB), cards, (process,)))
                for cards in ((card,), (card, card)))  # fmt: skip
    assert one["cards"][0]["model"]["size"] == "3.0 GB"
    assert two["cards"][0]["model"]["size"] == "0 MB"
    assert one["models"][0]["cards"] == two["models"][0]["cards"] == "3.0 GB"


# --- the page ---------------------------------------------------------------------------


def scripted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the looks; each of them finds the processor busier."""
    looks: list[int] = []
    card = Card(Memory("RTX <3060>", GB, 8 * GB), 12, 51)

    def look(self: Any, models: Any) -> Reading:
        looks.append(len(models))
        process = [Process(each, Used(GB, 2 * GB), 3 * GB) for each in models]
        memory = Memory("", 6 * GB, 8 * GB)
        return Reading("CPU <1>", 2, len(looks), memory, (card,), tuple(process))

    monkeypatch.setattr(sys.modules["extensions.hardware.reading"].Reader, "look", look)
    monkeypatch.setattr(sys.modules["extensions.hardware"], "EVERY", 0.01)
    return looks


async def test_it_is_looked_at_while_somebody_looks_and_never_else(
    monkeypatch: pytest.MonkeyPatch,
):
    async with running("hardware", "models") as app:
        looks = scripted(monkeypatch)
        await asyncio.sleep(0.05)
        elsewhere = await app.open("/models")
        await asyncio.sleep(0.05)
        assert "/models/hardware" in elsewhere.html
        assert not looks, "nobody looks"
        page = await app.open("/models/hardware")
        await page.until("CPU &lt;1&gt;.*RTX &lt;3060&gt;")
        await page.until('id="hardware-now" hx-swap-oob="outerMorph".*5 % busy')
        assert 'id="hardware-now"' not in elsewhere.html
        page.close()
        await asyncio.sleep(0.03)
        seen = len(looks)
        await asyncio.sleep(0.05)
        assert len(looks) == seen, "the page is gone"
        again = await app.open("/models/hardware")
        assert "Looking at the machine." in again.html, "what was seen is old"
        await again.until(f"{seen + 3} % busy")
        other = await app.open("/models/hardware")
        assert "Looking at the machine." not in other.html


async def test_the_process_of_a_model_is_told_and_goes(monkeypatch: pytest.MonkeyPatch):
    async with running("hardware", "models") as app:
        await app.load_in_worker("Hi.")
        page = await app.open("/models/hardware")
        await page.until(
            "What models use now.*scripted .*[0-9]+ MB of the files that it reads: the"
        )
        page.html = ""
        await app.kernel.slot().unload()
        await page.until("No model is loaded in a process of its own")


async def test_a_model_in_this_process_has_none_of_its_own(app: App):
    page = await app.open("/models/hardware")
    await page.until("No model is loaded in a process of its own")


@pytest.fixture
async def app():
    async with running("hardware", "models", model=Scripted("Hi.")) as app:
        yield app
