"""The memories of a machine, by drivers that are scripted and files that are made."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from extensions.engine_kit.api import cards, held, memories, used
from extensions.engine_kit.fit import Memory
from extensions.engine_kit.machine import from_smi, seen

MB = 1 << 20
TWO = """NVIDIA GeForce RTX 3060, 12288, 11000, 7, 41
NVIDIA A100-SXM4-80GB, 81920, 500, [N/A], 33
"""


def test_cards_as_nvidia_smi_tells_them():
    asked: list[Sequence[str]] = []

    def ask(query: Sequence[str]) -> str:
        asked.append(query)
        return TWO

    one, two = cards(ask=ask)
    assert one.memory == Memory("NVIDIA GeForce RTX 3060", 11_000 * MB, 12_288 * MB)
    assert (one.busy, one.degrees) == (7, 41)
    assert (two.memory.free, two.busy, two.degrees) == (500 * MB, None, 33)
    assert asked == [["--query-gpu=name,memory.total,memory.free,utilization.gpu,temperature.gpu"]]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "No devices were found",
        "NVIDIA-SMI has failed because",
        "a, [N/A], [N/A], 1, 1",
        "a,b\n,",
    ],
)
def test_a_driver_that_fails_has_no_cards(said: str):
    assert from_smi(said) == []


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, "ab"), ("0", "a"), ("1,0", "ba"), ("", ""), ("7", ""), ("GPU-8932f937", "ab")],
)
def test_the_cards_that_engines_may_see(visible: str | None, names: str):
    found = from_smi("a, 9, 9, 0, 0\nb, 9, 9, 0, 0\n")
    assert "".join(card.memory.name for card in seen(found, visible)) == names


def test_what_a_process_holds_of_the_cards():
    def ask(query: Sequence[str]) -> str:
        return "12, 300\n123, 1000\n12, 24\nx, y\n"

    assert held(12, ask) == 324 * MB
    assert held(1, ask) == 0


def put(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_cards_of_amd_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    device = "sys__class__drm__card1__device__"
    files = {f"{device}mem_info_vram_total": "1000\n", f"{device}mem_info_vram_used": "400\n"}
    files |= {f"{device}gpu_busy_percent": "12\n", f"{device}hwmon__hwmon3__temp1_input": "51000\n"}
    root = put(tmp_path, sys__class__drm__card0__device__vendor="0x8086", **files)
    (card,) = cards(root)
    assert card.memory == Memory("AMD graphics card 0", 600, 1000)
    assert (card.busy, card.degrees) == (12, 51)


def test_the_machines_own_memory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    said = "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"
    assert memories(put(tmp_path, proc__meminfo=said)) == (Memory("", 8000 << 10, 9000 << 10),)
    put(
        tmp_path,
        proc__self__cgroup="0::/\n",
        **{"sys__fs__cgroup__memory.max": "5000000", "sys__fs__cgroup__memory.current": "2000000"},
    )
    assert memories(tmp_path) == (Memory("", 3_000_000, 5_000_000),), "a container has less"


def test_what_a_process_uses(tmp_path: Path):
    said = "VmRSS: 9 kB\nRssAnon: 5 kB\nRssFile: 3 kB\nRssShmem: 1 kB\n"
    found = used(7, put(tmp_path, proc__7__status=said))
    assert found == (6 << 10, 3 << 10)
    assert found
    assert found.total == 9 << 10
    mine = used(os.getpid())
    assert mine
    assert mine.own > 10 * MB
    assert used(2**22 + 1) is None
