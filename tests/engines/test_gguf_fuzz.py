"""Spoilt GGUF files: refused with a sentence, or harmless to llama.cpp, or the end of a worker.

The check runs here, on every case; what it lets through is loaded by the native engine's library
in a worker, which may die, but not hang.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import check_gguf_adapter, check_gguf_model
from kernel.contract import Refused
from kernel.environments import python_of
from kernel.worker import Worker, WorkerDied, WorkerError
from tests.engines.mutations import Spoiler
from tests.engines.real import STORIES
from tests.engines.tiny import make_lora, make_rwkv

TRIED = Path(__file__).parent / "tried.py"
MODEL = STORIES / "stories260K.gguf"
LONGEST = 5.0
"""Seconds that a file may cost."""
DEADLY = 0
"""Of the cases of the default run, those that still end a worker."""


async def trial(python: Path) -> Worker:
    worker = await Worker.start(python, f"{TRIED}:Engine")
    await worker.load("", {})
    return worker


LONG = (pytest.mark.long, pytest.mark.timeout(7200))


@pytest.mark.parametrize(
    ("what", "cases"),
    [
        ("model", 300),
        ("rwkv", 40),
        ("adapter", 60),
        pytest.param("model", 20_000, marks=LONG),
        pytest.param("rwkv", 5000, marks=LONG),
        pytest.param("adapter", 5000, marks=LONG),
    ],
)
@pytest.mark.engine
async def test_d38_a_spoilt_gguf_costs_a_sentence_or_a_worker(
    environments_dir: Path, tmp_path: Path, what: str, cases: int
):
    python = python_of(environments_dir / "xllamacpp-native")
    if not python.is_file():
        pytest.skip("the native engine was not built")
    makers = {"model": lambda path: MODEL, "rwkv": make_rwkv, "adapter": make_lora}
    spoiler, file = Spoiler(makers[what](tmp_path / "sound.gguf")), tmp_path / "spoilt.gguf"
    base = check_gguf_model(MODEL)
    more: dict[str, Any] = {"base": str(MODEL)} if what == "adapter" else {}
    counts, deaths, slowest, checking, longest = Counter[str](), list[str](), 0.0, 0.0, 0
    worker = await trial(python)
    for seed in range(cases):
        way, data = spoiler.case(seed)
        file.write_bytes(data)
        begun = time.monotonic()
        try:
            check_gguf_adapter(file, base) if more else check_gguf_model(file)
        except Refused as refusal:
            counts["refused here"] += 1
            longest = max(longest, len(str(refusal)))
            continue
        finally:
            checking = max(checking, time.monotonic() - begun)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST):
                await worker.call("try", path=str(file), **more)
            counts["ran"] += 1
        except WorkerError:
            counts["refused by llama.cpp"] += 1
        except (WorkerDied, TimeoutError) as error:
            hung = isinstance(error, TimeoutError)
            deaths.append(f"{seed} ({way}): {'it hung' if hung else error}")
            counts["hung" if hung else "died"] += 1
            said = [line for line in worker.log_tail if "ASSERT" in line or "terminate" in line]
            print(deaths[-1], said[-1:])
            await worker.close(grace=0)
            worker = await trial(python)
        slowest = max(slowest, time.monotonic() - begun)
    await worker.close()
    print(dict(counts), f"the longest check {checking:.3f} s, the longest trial {slowest:.2f} s")
    assert checking < 1
    assert longest < 400, "a sentence is no page"
    assert not counts["hung"], deaths
    assert len(deaths) <= DEADLY * cases / 300, deaths
    assert counts["refused here"] > cases / 4, "the cases test the check"
    assert counts["ran"] > cases / 20, "and the engine"
