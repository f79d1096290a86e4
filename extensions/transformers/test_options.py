"""What options of Transformers were called in text-generation-webui."""

from pathlib import Path
from typing import Any

import pytest

from extensions.transformers import Options, accepts
from kernel.api import LOADERS, LoadFailed, check
from kernel.testing import running
from tests.engines.real import STORIES


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ({"bf16": True}, {"dtype": "bfloat16"}),
        ({"bf16": False, "cpu": True}, {"device": "cpu"}),
        ({"max_seq_len": 4096}, {"context_length": 4096}),
        ({"n-ctx": 512, "load_in_8bit": False}, {"context_length": 512}),
        ({"dtype": "float32", "bf16": True}, {"dtype": "float32"}),
        ({"compute_dtype": "float16", "quant_type": "nf4", "use_double_quant": False}, {}),
        ({"alpha_value": 1, "compress_pos_emb": 1, "attn_implementation": "sdpa"}, {}),
    ],
)
def test_old_names_mean_what_they_meant(said: dict[str, Any], means: dict[str, Any]):
    assert check(Options, said) == (means, {})


def test_what_is_gone_says_what_takes_its_place():
    good, bad = check(Options, {"load_in_4bit": True, "cpu": True})
    assert good == {"device": "cpu"}
    assert "Take a GGUF form" in bad["load_in_4bit"]


@pytest.mark.parametrize("name", ["trust_remote_code", "trust-remote-code"])
async def test_who_loads_a_model_cannot_let_it_run_programs(name: str):
    """That is for who starts Spindle to say, with a flag: a page or a program cannot."""
    good, bad = check(Options, {name: True, "dtype": "float32"})
    assert good == {"dtype": "float32"}
    assert list(bad) == ["trust_remote_code"]
    async with running("transformers") as app:
        [loader] = app.kernel.registry.values(LOADERS)
        with pytest.raises(LoadFailed, match="no setting “trust_remote_code”"):
            await app.kernel.slot().load(STORIES / "hf", loader.id, {name: True})
        assert not getattr(loader, "trusts", None)
        assert not app.kernel.slot().model


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (("config.json", "model.safetensors"), True),
        (("config.json", "pytorch_model.bin"), True),
        (("config.json", "model.safetensors", "model.gguf"), True),
        (("config.json", "tokenizer.json", "model.gguf"), False),
        (("model.safetensors",), False),
    ],
)
def test_it_takes_no_folder_of_gguf(tmp_path: Path, files: tuple[str, ...], taken: bool):
    for file in files:
        (tmp_path / file).touch()
    assert accepts(tmp_path) == taken
    assert not accepts(tmp_path / files[0])
