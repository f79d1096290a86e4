"""Will it fit? Folders that are made, on fake machines; what is measured is in tests/engines."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import Memory, Weighs
from extensions.transformers.weighing import (
    BYTES,
    CHUNK,
    CONVERSATIONS,
    ENGINE,
    RESERVE,
    Folder,
    Folders,
    caches,
    fast_formats,
    number_format,
    parts,
    weigh,
    weights,
)
from kernel.api import LOADERS, Refused
from kernel.testing import running

GB = 10**9
LLAMA = {
    "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 8192, "max_position_embeddings": 8192,
    "dtype": "bfloat16",
}  # fmt: skip
A_TOKEN = 2 * 8 * 64 * 2
"""Bytes that a layer remembers of one in 16 bits."""
OWN = Memory("", 16 * GB, 32 * GB)


def folder(numbers: int = GB, **more: Any) -> Folder:
    return Folder({**LLAMA, **more}, {"BF16": numbers})


def card(free: int) -> Memory:
    return Memory("RTX", free, 24 * GB)


def put(path: Path, config: object, **tensors: tuple[str, list[int]]) -> Path:
    """A folder with one file of safetensors, whose data is a hole."""
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * {"F32": 4, "BF16": 2, "I64": 8}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    path.mkdir(exist_ok=True)
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + at)
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("more", "layers", "numbers"),
    [
        ({}, 16, A_TOKEN),
        ({"num_key_value_heads": 32}, 16, 4 * A_TOKEN),
        ({"num_key_value_heads": None}, 16, 4 * A_TOKEN),
        ({"head_dim": 128}, 16, 2 * A_TOKEN),
        ({"layer_types": ["full_attention", "linear_attention"] * 8}, 8, A_TOKEN),
        (
            {
                "kv_lora_rank": 512,
                "qk_nope_head_dim": 128,
                "qk_rope_head_dim": 64,
                "v_head_dim": 128,
            },
            16,
            32 * 320 * 2,
        ),
    ],
)
def test_what_a_conversation_takes(more: dict[str, Any], layers: int, numbers: int):
    assert sum(caches(folder(**more), "bfloat16", 1000)) == layers * numbers * 1000
    assert sum(caches(folder(**more), "float32", 1000)) == layers * numbers * 2000


def test_layers_with_a_window_remember_no_more_than_it():
    windowed = folder(sliding_window=512, layer_types=["sliding_attention", "full_attention"] * 8)
    assert sum(caches(windowed, "bfloat16", 4096)) == 8 * A_TOKEN * (512 + 4096)


def test_names_of_an_older_kind():
    old = Folder({"n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024}, {"F32": 9})
    assert sum(caches(old, "float32", 100)) == 12 * 2 * 768 * 4 * 100
    assert "1,024 tokens" in weigh(old, {}, [OWN], fast={"float32"}).said


@pytest.mark.parametrize(
    ("wanted", "fast", "config", "found"),
    [
        ("auto", {"float32", "bfloat16", "float16"}, {"dtype": "float16"}, "float16"),
        ("auto", {"float32", "bfloat16"}, {"dtype": "float16"}, "float32"),
        ("auto", {"float32", "bfloat16"}, {"torch_dtype": "float32", "dtype": None}, "float32"),
        ("auto", {"float32", "bfloat16"}, {"dtype": None}, "bfloat16"),
        ("auto", {"float32"}, {}, "float32"),
        ("float16", {"float32"}, {}, "float16"),
    ],
)
def test_the_number_format_that_the_worker_chooses(
    wanted: str, fast: set[str], config: dict[str, Any], found: str
):
    assert number_format(folder(**config), wanted, fast) == found


def test_weights_are_turned_into_one_format():
    mixed = Folder({}, {"F32": 10, "BF16": 100, "I64": 1000})
    assert weights(mixed, "float32") == 440 + 8000
    assert weights(mixed, "bfloat16") == 220 + 8000


def test_in_memory_with_the_engine_and_all_conversations_that_are_kept():
    (share,) = weigh(folder(), {}, [OWN], fast=BYTES).shares
    assert share.weights == 2 * GB
    assert share.cache == CONVERSATIONS * 16 * A_TOKEN * 8192
    assert share.compute > ENGINE + CHUNK * 2 * (8 * 2048 + 4 * 8192)


@pytest.mark.parametrize(
    ("options", "memories", "verdict", "said"),
    [
        ({}, [OWN], "fits", "It fits in memory, with a context of 8,192 tokens."),
        ({"context_length": 512}, [OWN], "fits", "with a context of 512 tokens."),
        ({"context_length": 99999}, [OWN], "fits", "with a context of 8,192 tokens."),
        ({}, [Memory("", 2_600_000_000)], "tight", "Choose a context length of 768."),
        ({}, [Memory("", 2 * GB)], "not", "Try a smaller model, or a GGUF form of it"),
        ({"dtype": "float32"}, [Memory("", 3 * GB)], "not", "Try the number format bfloat16"),
        ({}, [OWN, card(8 * GB)], "fits", "It fits on the graphics card, with a context of 8,192"),
        ({}, [OWN, card(2 * GB)], "not", "Try the device cpu"),
        ({}, [OWN, card(2 * GB)], "not", "2.0 GB are free, of which 1.1 GB stay for the driver"),
        ({"device": "cpu"}, [OWN, card(2 * GB)], "fits", "It fits in memory"),
        ({"device": "cuda"}, [OWN], "not", "PyTorch finds no graphics card here."),
    ],
)
def test_what_is_said(options: dict[str, Any], memories: list[Memory], verdict: str, said: str):
    fit = weigh(folder(), options, memories, fast=BYTES)
    assert fit.verdict == verdict, fit.said
    assert said in fit.said


def test_what_is_advised_fits():
    few = [Memory("", 2_600_000_000)]
    assert weigh(folder(), {"context_length": 768}, few, fast=BYTES).verdict == "fits"
    assert weigh(folder(), {"context_length": 768 + 256}, few, fast=BYTES).verdict == "tight"


def test_a_card_keeps_its_reserve():
    need = sum(parts(folder(), "bfloat16", 8192))
    full = weigh(folder(), {}, [OWN, card(need + RESERVE)], fast=BYTES)
    assert full.verdict == "fits"
    assert full.shares[1].total == need
    assert weigh(folder(), {}, [OWN, card(need + RESERVE - 1)], fast=BYTES).verdict == "tight"


# --- files ------------------------------------------------------------------------------


def test_a_folder_is_read_once_while_it_stays_as_it_is(tmp_path: Path):
    path = put(tmp_path / "a", {"text_config": LLAMA, "hidden_size": 1}, w=("BF16", [10, 4]))
    folders = Folders()
    first = folders.of(path)
    assert first.numbers == {"BF16": 40}
    assert first.number("hidden_size") == 2048, "what its text model says goes before"
    assert folders.of(path) is first
    put(path, LLAMA, w=("F32", [10, 8]))
    assert folders.of(path).numbers == {"F32": 80}


def test_a_damaged_folder_is_refused(tmp_path: Path):
    path = put(tmp_path / "a", [], w=("F32", [2]))
    with pytest.raises(Refused, match="damaged"):
        Folders().of(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(Refused, match="no model"):
        Folders().of(path)


def test_a_processor_that_knows_16_bits(tmp_path: Path):
    file = tmp_path / "cpuinfo"
    file.write_text("flags : fpu avx512_bf16 amx_tile\n\nflags : fpu avx512_fp16\n")
    assert fast_formats(file) == {"float32", "bfloat16"}
    file.write_text("flags : fpu avx512_bf16 avx512_fp16\n")
    assert fast_formats(file) == {"float32", "bfloat16", "float16"}
    file.write_text("flags : fpu avx2\n")
    assert fast_formats(file) == fast_formats(tmp_path / "none") == {"float32"}


@pytest.mark.parametrize(("variant", "bars"), [("", 2), ("cpu", 1)])
async def test_a_build_for_processors_sees_no_card(
    variant: str, bars: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with running("transformers", "engine_kit") as app:
        ext = app.extension("transformers")
        loader = ext.one(LOADERS)
        monkeypatch.setattr(type(ext), "variant", variant)
        assert isinstance(loader, Weighs)
        path = put(tmp_path / "a", LLAMA, w=("F32", [10, 8]))
        fit = await ext.thread(loader.weigh, path, loader.Options(), [OWN, card(9 * GB)])
        assert (fit.verdict, len(fit.shares)) == ("fits", bars)
        (path / "config.json").unlink()
        assert loader.weigh(path, loader.Options(), [OWN]).verdict == "not"


@pytest.mark.parametrize("trusts", [False, True])
async def test_programs_of_the_models_own_are_told_before_a_load(tmp_path: Path, trusts: bool):
    path = put(tmp_path / "own", {**LLAMA, "auto_map": {"AutoModel": "m.M"}}, w=("F32", [10, 8]))
    async with running("transformers", "engine_kit") as app:
        app.kernel.flags["transformers"] = {"trust-remote-code": trusts}
        await app.kernel.restart("transformers")
        loader: Any = app.extension("transformers").one(LOADERS)
        fit = loader.weigh(path, loader.Options(), [OWN])
        assert fit.verdict == ("fits" if trusts else "not")
        assert ("(config.json: auto_map). If you trust" in fit.said) != trusts
        if not trusts:
            with pytest.raises(Refused, match="--trust-remote-code"):
                loader.refuse(path, loader.Options())
        put(path, {**LLAMA, "quantization_config": {"quant_method": "x"}}, w=("F32", [10, 8]))
        assert "own is quantized (x)" in loader.weigh(path, loader.Options(), [OWN]).said
