"""The card as others see it: how much of its memory is taken, and a process that takes it."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

HOG = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(free - int(sys.argv[1]), dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print(torch.cuda.mem_get_info()[0], flush=True)
sys.stdin.read()
"""
"""Leaves only so many bytes of the card's memory to others, until its input ends."""
SEES = "import torch; print(torch.cuda.is_available())"


def reason_to_skip(python: Path) -> str:
    """Why these tests cannot run with this interpreter; empty when they can."""
    if not shutil.which("nvidia-smi"):
        return "there is no nvidia-smi here, so there is no CUDA graphics card"
    if not python.is_file():
        return f"{python} does not exist; tests/gpu/README.md says what is needed"
    seen = subprocess.run([python, "-c", SEES], capture_output=True, text=True, check=False)
    if seen.stdout.strip() != "True":
        return "PyTorch finds no CUDA graphics card here"
    try:
        taken()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        return f"nvidia-smi does not say how much memory is taken ({error})"
    return ""


def taken() -> int:
    """Megabytes of the first card's memory that all processes hold together."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(said.splitlines()[0])


async def given_back(before: int, seconds: float = 5) -> bool:
    """Whether no more is taken than before, soon."""
    for _ in range(int(seconds / 0.1)):
        if await asyncio.to_thread(taken) <= before + 8:
            return True
        await asyncio.sleep(0.1)
    return False


@asynccontextmanager
async def nearly_full(python: Path, leaves: int) -> AsyncGenerator[int]:
    """Another process holds all memory but so many megabytes; answers how many those are."""
    pipe = asyncio.subprocess.PIPE
    hog = await asyncio.create_subprocess_exec(
        python, "-c", HOG, str(leaves << 20), stdin=pipe, stdout=pipe
    )
    assert hog.stdin
    assert hog.stdout
    try:
        yield int(await hog.stdout.readline()) >> 20
    finally:
        hog.stdin.close()
        await hog.wait()
        hog._transport.close()  # type: ignore[attr-defined]
