"""What options of Transformers were called in text-generation-webui."""

from typing import Any

import pytest

from extensions.transformers import Options
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
