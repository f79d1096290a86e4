"""Folders of PEFT: what is read of them, what is refused, and whether they fit a model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import check_folder, check_peft_adapter, misfit, read_peft
from extensions.engine_kit.peft import CONFIG, WEIGHTS
from kernel.contract import Refused

DATA = Path(__file__).parents[2] / "tests" / "data"
LORA, MODEL = DATA / "lora-stories260K", DATA / "stories260K" / "hf"
Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"


def weights(tensors: dict[str, tuple[int, ...]], kind: str = "F32") -> bytes:
    """A safetensors file of noughts."""
    header, end = dict[str, Any](), 0
    for name, shape in tensors.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": (end, end + size)}
        end += size
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(end)


def folder(path: Path, tensors: dict[str, tuple[int, ...]], kind: str = "F32", **said: Any) -> Path:
    path.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **said}
    (path / CONFIG).write_text(json.dumps(config))
    (path / WEIGHTS).write_bytes(weights(tensors, kind))
    return path


def test_what_an_adapter_says():
    adapter = check_peft_adapter(LORA, check_folder(MODEL))
    assert len(adapter.factors) == 35
    module = "model.layers.0.self_attn.q_proj"
    assert adapter.factors[module].rank == adapter.config.r
    assert adapter.scale(module) == adapter.config.lora_alpha / adapter.config.r


def test_the_scale_of_a_module(tmp_path: Path):
    pair = {f"{Q}A.weight": (4, 64), f"{Q}B.weight": (64, 4)}
    module = "model.layers.0.self_attn.q_proj"
    kinds: tuple[tuple[dict[str, Any], float], ...] = (
        ({}, 2.0),
        ({"use_rslora": True}, 4.0),
        ({"alpha_pattern": {"q_proj": 1}}, 0.25),
        ({"alpha_pattern": {r"layers\.[01]\..*q_proj": 1}}, 0.25),
        ({"alpha_pattern": {"k_proj": 1, "(": 1}}, 2.0),
    )
    for said, scale in kinds:
        assert read_peft(folder(tmp_path / "one", pair, **said)).scale(module) == scale


BAD: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]], str]] = {
    "other kind": ({"peft_type": "IA3"}, {}, r"no LoRA adapter \(peft_type: IA3\)"),
    "silent": ({"peft_type": ""}, {}, "peft_type: nothing"),
    "dora": ({"use_dora": True}, {}, "DoRA"),
    "number": ({"lora_alpha": "much"}, {}, "is damaged"),
    "huge": ({"lora_alpha": 1e300}, {}, "is damaged"),
    "endless": ({"alpha_pattern": {"(a+)+b": 1}}, {}, "that nobody needs"),
    "many": ({"alpha_pattern": {"a*a*a*a*b": 1}}, {}, "that nobody needs"),
    "empty": ({}, {}, "there is nothing in it"),
    "half": ({}, {f"{Q}A.weight": (4, 64)}, "half of .* is missing"),
    "halves": ({}, {f"{Q}A.weight": (4, 64), f"{Q}B.weight": (64, 5)}, "do not meet"),
    "twice": ({}, {f"{Q}A.weight": (4, 64), f"{Q}A.default.weight": (4, 64)}, "there twice"),
    "nothing wide": ({}, {f"{Q}A.weight": (0, 64), f"{Q}B.weight": (64, 0)}, "no table"),
    "list": ({}, {f"{Q}A.weight": (4,)}, "no table"),
    "more": ({}, {"base_model.model.lm_head.weight": (4, 4)}, "more than products"),
    "magnitude": ({}, {f"{Q[:-5]}lora_magnitude_vector": (4, 4)}, "more than products"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_none_is_refused(tmp_path: Path, name: str):
    said, tensors, words = BAD[name]
    with pytest.raises(Refused, match=words):
        read_peft(folder(tmp_path / "one", tensors, **said))


def test_whole_numbers_and_files_that_lack(tmp_path: Path):
    pair = {f"{Q}A.weight": (4, 64), f"{Q}B.weight": (64, 4)}
    with pytest.raises(Refused, match="no table of numbers"):
        read_peft(folder(tmp_path / "one", pair, "I32"))
    (tmp_path / "one" / WEIGHTS).unlink()
    with pytest.raises(Refused, match=f"has no {WEIGHTS}"):
        read_peft(tmp_path / "one")
    (tmp_path / "one" / "adapter_model.bin").touch()
    with pytest.raises(Refused, match=r"only in adapter_model\.bin, a format that can run"):
        read_peft(tmp_path / "one")
    (tmp_path / "one" / CONFIG).write_text("[" * 100_000)
    with pytest.raises(Refused, match="is damaged"):
        read_peft(tmp_path / "one")
    (tmp_path / "one" / CONFIG).write_bytes(b" " * (2 << 20))
    with pytest.raises(Refused, match="far too large"):
        read_peft(tmp_path / "one")
    with pytest.raises(Refused, match=f"has no {CONFIG}"):
        read_peft(tmp_path / "none")


MISFITS: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "layer": (
        {f"{Q}A.weight".replace("0", "7"): (4, 64), f"{Q}B.weight".replace("0", "7"): (64, 4)},
        r"it has no model\.layers\.7\.self_attn\.q_proj",
    ),
    "width": (
        {f"{Q}A.weight": (4, 128), f"{Q}B.weight": (128, 4)},
        "q_proj is 64 by 64 there, and 128 by 128 in the adapter",
    ),
    "norm": (
        {"model.norm.lora_A.weight": (4, 64), "model.norm.lora_B.weight": (64, 4)},
        "is no table of two sides",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_an_adapter_for_another_model_is_refused(tmp_path: Path, name: str):
    tensors, words = MISFITS[name]
    with pytest.raises(Refused, match=words):
        check_peft_adapter(folder(tmp_path / "one", tensors), check_folder(MODEL))


def test_names_that_differ_before_the_layer_and_a_shared_head_fit(tmp_path: Path):
    tensors = {
        f"{Q}A.weight".replace("model.model", "model.language_model.model"): (4, 64),
        f"{Q}B.weight".replace("model.model", "model.language_model.model"): (64, 4),
        "base_model.model.lm_head.lora_A.weight": (4, 64),
        "base_model.model.lm_head.lora_B.weight": (512, 4),
        "base_model.model.model.embed_tokens.lora_embedding_A": (4, 512),
        "base_model.model.model.embed_tokens.lora_embedding_B": (64, 4),
    }
    base = check_folder(MODEL)
    assert "lm_head.weight" not in base
    assert len(check_peft_adapter(folder(tmp_path / "one", tensors), base).factors) == 3


def test_tables_that_lie_on_their_side(tmp_path: Path):
    pair = {"h.0.c_attn.lora_A.weight": (4, 64), "h.0.c_attn.lora_B.weight": (192, 4)}
    factors = read_peft(folder(tmp_path / "one", pair)).factors["h.0.c_attn"]
    assert misfit(factors, [64, 192])
    assert not misfit(factors, [64, 192], turned=True)


def test_a_copy_is_read_as_the_original(tmp_path: Path):
    copy = Path(shutil.copytree(LORA, tmp_path / "copy"))
    assert read_peft(copy) == read_peft(LORA)
