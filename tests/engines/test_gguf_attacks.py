"""Attacks D35, D36, D38 with whole GGUF files: what the worker answers, and when."""

import asyncio
import struct
import time
from pathlib import Path

import pytest

from extensions.engine_kit.api import check_gguf
from kernel.api import Message, Text, Worker, WorkerError
from kernel.environments import python_of
from kernel.worker import WorkerDied
from tests.engines.mutations import rewritten, text
from tests.engines.real import STORIES, STORY, ask, engine

pytestmark = pytest.mark.engine
MODEL = STORIES / "stories260K.gguf"
HELLO = (Message("user", (Text("Hello"),)),)
HOSTILE = {
    "the code of a function": "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "the filter attr": "{{ ''|attr('__class__')|attr('__mro__') }}",
    "lipsum": "{{ lipsum.__globals__['os'].popen('touch CANARY').read() }}",
    "a format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "a loop": "{% for i in range(10**9) %}{% for j in range(10**9) %}{% endfor %}{% endfor %}",
    "a recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "100 MB": "{{ 'x' * 100000000 }}",
}


@pytest.mark.parametrize("environment", ["xllamacpp", "xllamacpp-native"])
async def test_d35_d36_a_hostile_template_in_a_gguf_costs_one_reply(
    environments_dir: Path, tmp_path: Path, environment: str
):
    canary, latest = tmp_path / "canary", 0.0

    async def watch() -> None:
        nonlocal latest
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.02)
            latest = max(latest, time.monotonic() - begun - 0.02)

    async with engine("llama_cpp", environments_dir / environment) as worker:
        watching = asyncio.create_task(watch())
        for what, template in HOSTILE.items():
            file = rewritten(
                MODEL, tmp_path / "hostile.gguf", template=template.replace("CANARY", str(canary))
            )
            await worker.load(file, {"context_length": 256})
            begun, said = time.monotonic(), ""
            try:
                said, _, _ = await ask(worker, messages=HELLO)
            except WorkerError as error:
                said = str(error)
            assert time.monotonic() - begun < 10, what
            assert "<class" not in said, what
            assert not canary.exists(), what
            assert (await ask(worker))[0] == STORY, what
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
    assert latest < 1, "it runs in processes of its own"


def endless(path: Path) -> Path:
    """A file that llama.cpp never finishes: an RWKV vocabulary without a token for a newline,
    and with one for two of them."""
    tokens = check_gguf(MODEL).metadata["tokenizer.ggml.tokens"]
    four = next(token for token in tokens if len(token) == 4)
    kind = text(b"tokenizer.ggml.model") + struct.pack("<I", 8)
    return rewritten(
        MODEL, path, (kind + text(b"llama"), kind + text(b"rwkv")), (text(four), text(rb"\n\n"))
    )


async def test_a_file_that_llama_cpp_never_finishes_costs_a_sentence(
    environments_dir: Path, tmp_path: Path
):
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        begun = time.monotonic()
        with pytest.raises(WorkerError, match="its vocabulary has no token for the byte 0x0A"):
            await worker.load(endless(tmp_path / "endless.gguf"), {})
        assert time.monotonic() - begun < 5
        await worker.load(MODEL, {})
        assert (await ask(worker))[0] == STORY


@pytest.mark.long
async def test_without_the_check_it_takes_all_of_its_memory(environments_dir: Path, tmp_path: Path):
    python = python_of(environments_dir / "xllamacpp-native")
    if not python.is_file():
        pytest.skip("the native engine was not built")
    worker = await Worker.start(python, f"{Path(__file__).parent / 'tried.py'}:Engine")
    await worker.load("", {})
    try:
        with pytest.raises((TimeoutError, WorkerDied, WorkerError)) as end:
            async with asyncio.timeout(5):
                await worker.call("try", path=str(endless(tmp_path / "endless.gguf")))
        print(repr(end.value))
    finally:
        await worker.close(grace=0)
