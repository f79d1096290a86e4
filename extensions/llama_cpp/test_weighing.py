"""Will it fit? Tables of fake headers on fake machines; what is measured is in tests/engines."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import Fit, Gguf, Memory, Tensor, Weighs
from extensions.llama_cpp import weighing
from extensions.llama_cpp.memory import Plan, layers_on_cards, need, plan
from extensions.llama_cpp.test_memory import GB, MB, STORIES, model
from extensions.llama_cpp.weighing import Headers, files_beside, slim, weigh
from kernel.api import LOADERS
from kernel.testing import running

OWN = Memory("", 16 * GB, 32 * GB)


def card(free: int, name: str = "RTX") -> Memory:
    return Memory(name, free, 24 * GB)


def asked(options: dict[str, Any], *memories: Memory, file: Gguf | None = None) -> Fit:
    return weigh(file or model(), options, memories, prebuilt=False, engine=50 * MB)


def test_without_a_card_everything_lies_in_memory():
    fit = asked({"context_length": 4096}, OWN)
    (share,) = fit.shares
    whole = need(model(), plan(model(), {}, 4096, card=False))
    assert (fit.verdict, fit.said) == ("fits", "It fits with a context of 4,096 tokens.")
    assert (share.weights, share.cache) == (whole.weights, whole.cache)
    assert 50 * MB < share.compute < whole.compute + 500 * MB


@pytest.mark.parametrize(
    ("options", "memories", "said"),
    [
        ({}, (OWN, card(20 * GB)), "It fits on the graphics card as a whole, with a context of "),
        ({}, (OWN, card(5 * GB)), "It fits with 16 of 33 layers on the graphics card, with a"),
        ({"gpu_layers": 4}, (OWN, card(20 * GB)), "It fits with 4 of 33 layers on the graphics"),
        ({"gpu_layers": 0}, (OWN, card(20 * GB)), "No layer goes to the graphics card."),
        ({"gpu_layers": 32}, (OWN, card(4 * GB)), "Choose 11, or -1 to let Spindle choose"),
        ({"mmap": False}, (Memory("", 7 * GB, 8 * GB),), "Take a smaller model or a smaller"),
        ({"mmap": False}, (Memory("", 8 * GB, 8 * GB),), "It fits with a context of 2,560 tokens"),
        ({}, (Memory("", 6 * GB, 8 * GB),), "It will be very slow: of 8.5 GB that it needs, 6.0"),
        ({"rpc": ("a:1",)}, (OWN,), "other machines take of it (RPC servers) is not known here."),
        (
            {"context_length": 10**6},
            (Memory("", 64 * GB, 64 * GB),),
            "131,072 tokens. It reaches no further: 1,000,000 tokens were wanted.",
        ),
        ({"cache_ram": 9000}, (OWN,), "may take 9.4 GB more (Prefix cache)."),
    ],
)
def test_what_is_said(options: dict[str, Any], memories: Sequence[Memory], said: str):
    fit = asked({"context_length": 4096, **options}, *memories)
    assert said in fit.said
    verdict = "not" if "Choose 11" in said or "mmap" in options else "fits"
    assert fit.verdict == ("tight" if "slow" in said else verdict)


def large() -> Gguf:
    """A model of 8 billion weights of 16 bits: 16 GB."""
    file = model()
    for block in range(32):
        file.tensors[f"blk.{block}.ffn_up.weight"] = Tensor((4096, 58_000), 1, 475_136_000)
    for name in ("token_embd.weight", "output.weight"):
        file.tensors[name] = Tensor((4096, 50_000), 1, 409_600_000)
    return file


@pytest.mark.parametrize(
    ("free", "said"),
    [
        (17 * GB, "It fits with a context of 512 tokens."),
        (12 * GB, "Try a smaller quantization of it, such as Q8_0, or close other programs."),
        (6.5 * GB, "Try a smaller quantization of it, such as Q5_K_M, or close other programs."),
        (4 * GB, "Try a smaller quantization of it, such as Q2_K, or close other programs."),
        (3 * GB, "Take a smaller model or a smaller quantization of it, or close other programs."),
    ],
)
def test_the_quantization_that_would_fit_is_named(free: float, said: str):
    fit = asked({"context_length": 512}, Memory("", int(free), 32 * GB), file=large())
    assert fit.said.endswith(said)


def test_the_quantization_that_would_fit_a_card_is_named():
    fit = asked({"context_length": 4096}, OWN, card(8 * GB), file=large())
    assert "; the processor runs the others, which is slower. As Q5_K_M it would fit" in fit.said
    assert "would fit there" not in asked({}, OWN, card(2 * GB), file=large()).said


def test_what_is_refused_names_a_quantization_too():
    fit = asked({"context_length": 512, "mmap": False}, Memory("", 8 * GB, 9 * GB), file=large())
    assert fit.verdict == "not"
    assert "Try a smaller quantization of it, such as Q6_K, or close other programs." in fit.said


def test_an_odd_model_is_not_promised():
    assert asked({}, OWN, file=model(ssm__state_size=16)).said.startswith("It should fit ")


@pytest.mark.parametrize("free", [3 * GB, 5 * GB, 7 * GB, 9 * GB])
def test_as_many_layers_as_the_engine_will_place(free: int):
    """The bars and the load agree: both count with the same sums."""
    fit = asked({"context_length": 4096}, OWN, card(free))
    placed = layers_on_cards(model(), plan(model(), {}, 4096, card=True), (free,), {})
    on = fit.shares[1]
    assert on.weights == (500 * MB + (min(placed, 33) - 1) * 200 * MB if placed else 0)
    assert on.total <= free


@pytest.mark.parametrize("free", [(5 * GB, 5 * GB), (20 * GB, 4 * GB), (30 * GB, 30 * GB)])
@pytest.mark.parametrize("options", [{}, {"no_kv_offload": True}])
def test_nothing_is_lost_between_the_memories(free: tuple[int, int], options: dict[str, Any]):
    fit = asked({"context_length": 4096, **options}, OWN, *map(card, free))
    whole = need(model(), plan(model(), {}, 4096, card=True))
    assert sum(each.weights for each in fit.shares) == whole.weights
    assert sum(each.cache for each in fit.shares) == whole.cache
    if options:
        assert fit.shares[0].cache == whole.cache


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({}, (16, 16)),
        ({"tensor_split": "3,1"}, (25, 7)),
        ({"tensor_split": "0,1"}, (0, 32)),
        ({"split_mode": "none", "main_gpu": 1}, (0, 32)),
        ({"split_mode": "none"}, (32, 0)),
    ],
)
def test_several_cards_share_the_layers(options: dict[str, Any], layers: tuple[int, int]):
    fit = asked({"context_length": 4096, **options}, OWN, card(20 * GB), card(20 * GB))
    one, two = fit.shares[1:]
    assert (one.weights // (200 * MB), two.weights // (200 * MB)) in (
        layers,
        (layers[0], layers[1] + 2),  # the last one has the output, too
        (layers[0] + 2, layers[1]),
        (layers[0] + 1, layers[1] + 1),
    )
    assert bool(one.compute) == bool(layers[0])


def test_experts_stay_when_asked():
    file = model()
    for block in range(32):
        file.tensors[f"blk.{block}.ffn_up_exps.weight"] = Tensor((4, 4), 1, 100 * MB)
    fit = asked({"context_length": 4096, "cpu_moe": True}, OWN, card(20 * GB), file=file)
    assert fit.shares[0].weights == 500 * MB + 32 * 100 * MB


def test_a_table_that_is_used_twice_lies_in_both_places():
    file = model()
    del file.tensors["output.weight"]
    own, on = asked({"context_length": 4096}, OWN, card(20 * GB), file=file).shares
    assert (own.weights, on.weights) == (500 * MB, 500 * MB + 32 * 200 * MB)


# --- headers ----------------------------------------------------------------------------


def test_a_header_is_read_once_while_the_file_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, read = tmp_path / "a.gguf", list[Path]()
    path.write_bytes(STORIES.read_bytes())
    check = weighing.check_gguf_model

    def counted(path: Path) -> Gguf:
        read.append(path)
        return check(path)

    monkeypatch.setattr(weighing, "check_gguf_model", counted)
    headers = Headers()
    first = headers.of(path)
    assert headers.of(path) is first
    os.utime(path, (1, 1))
    assert headers.of(path) is not first
    assert len(read) == 2


def test_what_is_remembered_of_a_header_gives_the_same_sums():
    tokens = {
        "tokenizer.ggml.tokens": [b"x" * 9] * 50_000,
        "tokenizer.ggml.scores": (0.0,) * 50_000,
    }
    file = model(attention__head_count_kv=tuple([8, 4] * 16))
    file.metadata.update(tokens)
    small = slim(file)
    assert need(small, Plan(4096)) == need(file, Plan(4096))
    assert not isinstance(small.metadata["tokenizer.ggml.tokens"], list)


def test_files_beside_the_model_count(tmp_path: Path):
    (tmp_path / "style.gguf").write_bytes(b"x" * 10)
    (tmp_path / "eyes.gguf").write_bytes(b"x" * 200)
    options = {"lora": ("style = 0.5", "gone.gguf"), "mmproj": "eyes.gguf"}
    assert files_beside(options, tmp_path / "model.gguf", tmp_path) == 210


# --- the loader -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "engine", "cards"),
    [
        ("", "auto", 0),
        ("native", "auto", 0),
        ("native-cuda", "auto", 1),
        ("native-vulkan", "auto", 1),
        ("native-cuda", "prebuilt", 0),
    ],
)
async def test_only_a_build_for_cards_counts_them(
    variant: str, engine: str, cards: int, monkeypatch: pytest.MonkeyPatch
):
    async with running("llama_cpp", "engine_kit") as app:
        ext = app.extension("llama_cpp")
        loader = ext.one(LOADERS)
        monkeypatch.setattr(type(ext), "variant", variant)
        assert isinstance(loader, Weighs)
        options = loader.Options(engine=engine)
        fit = await ext.thread(loader.weigh, STORIES, options, [OWN, card(9 * GB)])
        assert fit.verdict == "fits"
        assert len(fit.shares) == 1 + cards


async def test_a_broken_file_says_why_it_is(tmp_path: Path):
    async with running("llama_cpp", "engine_kit") as app:
        loader: Any = app.extension("llama_cpp").one(LOADERS)
        (tmp_path / "a.gguf").write_bytes(b"GGUF" + b"\0" * 5)
        fit = loader.weigh(tmp_path / "a.gguf", loader.Options(), [OWN])
        assert (fit.verdict, fit.shares) == ("not", ())
        assert "too short" in fit.said
