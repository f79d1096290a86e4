"""The memories of this machine: its own, and those of its graphics cards. All of it blocks."""

import csv
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from extensions.engine_kit.fit import Memory
from extensions.engine_kit.room import all_memory, free_memory
from kernel.contract import Struct

PATIENCE = 5
"""Seconds that a driver may take to answer; one that hangs has no cards."""
CARDS = ("name", "memory.total", "memory.free", "utilization.gpu", "temperature.gpu")
Ask = Callable[[Sequence[str]], str]


class Card(Struct, frozen=True):
    """A graphics card as its driver tells: how busy it is in percent, and its degrees Celsius."""

    memory: Memory
    busy: int | None = None
    degrees: int | None = None


def memories(root: Path = Path("/")) -> tuple[Memory, ...]:
    """The machine's own memory first, then that of each card."""
    own = Memory("", free_memory(root), all_memory(root))
    return own, *(card.memory for card in cards(root))


def cards(root: Path = Path("/"), ask: Ask | None = None) -> list[Card]:
    """The cards of NVIDIA by nvidia-smi, else those of AMD by what Linux says of them."""
    if ask or shutil.which("nvidia-smi"):
        found = from_smi((ask or smi)([f"--query-gpu={','.join(CARDS)}"]))
        return seen(found, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return from_linux(root)


def held(pid: int, ask: Ask | None = None) -> int:
    """Bytes of all cards of NVIDIA that a process holds."""
    if not ask and not shutil.which("nvidia-smi"):
        return 0
    rows = table((ask or smi)(["--query-compute-apps=pid,used_memory"]))
    return sum(megabytes(row[1]) for row in rows if len(row) == 2 and row[0] == str(pid))


def smi(query: Sequence[str]) -> str:
    """What nvidia-smi answers; nothing where it fails."""
    command = ["nvidia-smi", *query, "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE
        ).stdout
    return ""


def from_smi(said: str) -> list[Card]:
    """One line for each card; what a card does not tell stands there in brackets."""
    found: list[Card] = []
    for row in table(said):
        if len(row) == len(CARDS) and row[1].isdigit():
            memory = Memory(row[0], megabytes(row[2]), megabytes(row[1]))
            found.append(Card(memory, whole(row[3]), whole(row[4])))
    return found


def seen(found: list[Card], visible: str | None) -> list[Card]:
    """Those that the environment lets engines see; it may name them by more than numbers."""
    names = [name.strip() for name in (visible or "").split(",")]
    if visible is None or not all(name.isdigit() for name in names if name):
        return found
    return [found[int(name)] for name in names if name and int(name) < len(found)]


def from_linux(root: Path) -> list[Card]:
    """The cards of AMD, whose driver tells it in files."""
    found: list[Card] = []
    for device in sorted((root / "sys/class/drm").glob("card[0-9]*/device")):
        total, used = (text(device / f"mem_info_vram_{what}") for what in ("total", "used"))
        if not (total.isdigit() and used.isdigit()):
            continue
        name = text(device / "product_name") or f"AMD graphics card {len(found)}"
        heat = [whole(text(file)) for file in device.glob("hwmon/hwmon*/temp1_input")]
        memory = Memory(name, int(total) - int(used), int(total))
        degrees = next((each // 1000 for each in heat if each is not None), None)
        found.append(Card(memory, whole(text(device / "gpu_busy_percent")), degrees))
    return found


def size(bytes: int) -> str:
    """Bytes of memory in a sentence: 1.5 GB, 300 MB."""
    return f"{bytes / 1e9:,.1f} GB" if bytes >= 999_500_000 else f"{max(0, bytes) / 1e6:.0f} MB"


def table(said: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in csv.reader(said.splitlines())]


def megabytes(cell: str) -> int:
    return (whole(cell) or 0) << 20


def whole(cell: str) -> int | None:
    return int(cell) if cell.isascii() and cell.isdigit() else None


def text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", "replace").strip()
    return ""
