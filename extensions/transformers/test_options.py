"""What options of Transformers were called in text-generation-webui."""

from pathlib import Path
from typing import Any

import pytest

from extensions.transformers import Options, accepts
from kernel.api import check


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ({"bf16": True}, {"dtype": "bfloat16"}),
        ({"bf16": False, "cpu": True}, {"device": "cpu"}),
        ({"max_seq_len": 4096}, {"context_length": 4096}),
        ({"n-ctx": 512, "load_in_8bit": False}, {"context_length": 512}),
        ({"dtype": "float32", "bf16": True}, {"dtype": "float32"}),
    ],
)
def test_old_names_mean_what_they_meant(said: dict[str, Any], means: dict[str, Any]):
    assert check(Options, said) == (means, {})


def test_what_is_gone_says_what_takes_its_place():
    good, bad = check(Options, {"load_in_4bit": True, "cpu": True})
    assert good == {"device": "cpu"}
    assert "Take a GGUF form" in bad["load_in_4bit"]


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
