"""What is told of the memory before a load: as for llama.cpp, with PyTorch and a second context."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import Memory
from extensions.llamacpp_hf import ENGINE
from kernel.api import LOADERS
from kernel.testing import running

MODEL = Path(__file__).parents[2] / "tests/data/stories260K/stories260K.gguf"


async def test_it_tells_beforehand_what_a_second_context_takes(tmp_path: Path):
    shutil.copy(MODEL, tmp_path / "a.gguf")
    memories = [Memory("", 9 * 10**9, 16 * 10**9)]
    async with running("llamacpp_hf") as app:
        loader: Any = app.extension("llamacpp_hf").get(LOADERS)[-1]
        one, two, folder = (
            loader.weigh(path, loader.Options(context_length=512, **more), memories).shares[0]
            for path, more in ((MODEL, {}), (MODEL, {"cfg_cache": True}), (tmp_path, {}))
        )
    assert one == folder, "a folder that holds one file is that file"
    assert (two.weights, two.cache) == (one.weights, 2 * one.cache)
    assert ENGINE < one.compute < two.compute


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mmproj": "eyes.gguf"}, "llamacpp_HF cannot do this: mmproj."),
        ({"engine": "prebuilt"}, "llamacpp_HF cannot do this: engine."),
        ({"tokenizer_dir": "nowhere"}, "There is no tokenizer in nowhere"),
        ({"cache_type": "q8_0"}, "are 8 wide. Take f16."),
        ({"override_kv": ("a=int:1",)}, ""),
    ],
)
async def test_it_tells_beforehand_what_it_refuses(options: dict[str, Any], said: str):
    memories = [Memory("", 9 * 10**9, 16 * 10**9)]
    async with running("llamacpp_hf") as app:
        loader: Any = app.extension("llamacpp_hf").get(LOADERS)[-1]
        fit = loader.weigh(MODEL, loader.Options(**options), memories)
    assert said in fit.said
    assert fit.verdict == ("not" if said else "fits")
