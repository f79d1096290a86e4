"""The models that benchmarks/models.py makes of random weights."""

import random
from pathlib import Path

import pytest

from benchmarks.models import SIZES, TOKENS, make, prompt
from extensions.engine_kit.gguf import check_gguf
from tests.engines.real import ask, engine


@pytest.mark.parametrize("kind", ["q4_0", "f16"])
def test_its_header_says_what_the_file_holds(tmp_path: Path, kind: str):
    file = check_gguf(make(tmp_path, "15m", kind))
    assert file.of_arch("block_count") == SIZES["15m"].layers
    assert file.tensors["token_embd.weight"].shape == (SIZES["15m"].width, TOKENS)


def test_it_is_made_once_and_is_always_the_same(tmp_path: Path):
    first = make(tmp_path / "one", "15m")
    when = first.stat().st_mtime_ns
    assert make(tmp_path / "one", "15m").stat().st_mtime_ns == when
    assert make(tmp_path / "two", "15m").read_bytes() == first.read_bytes()


@pytest.mark.engine
async def test_a_prompt_has_the_tokens_that_it_should_have(tmp_path: Path, environments_dir: Path):
    model = make(tmp_path, "15m")
    async with engine("llama_cpp", environments_dir / "xllamacpp") as worker:
        await worker.load(model, {"context_length": 512})
        text = prompt(random.Random(1), 100)
        assert len(await worker.call("tokenize", text=text)) == 100
        _, finish, _ = await ask(worker, text, max_new_tokens=3, ban_eos_token=True)
        assert (finish.usage.prompt, finish.usage.completion) == (100, 3)
