"""What models take, and whether they fit: tables of fake headers and fake machines."""

from pathlib import Path

import pytest

from extensions.engine_kit.api import Gguf, Tensor, check_gguf, free_memory
from extensions.llama_cpp.fitting import Machine, check_fits, context_that_fits
from extensions.llama_cpp.memory import (
    EVERYTHING,
    PIECE,
    RESERVE,
    Plan,
    caches,
    layers,
    layers_on_cards,
    longest_context,
    need,
    plan,
)
from kernel.api import Refused

GB, MB = 10**9, 10**6
STORIES = Path(__file__).parents[2] / "tests/data/stories260K/stories260K.gguf"


def model(blocks: int = 32, wide: int = 4096, layer: int = 200 * MB, **keys: object) -> Gguf:
    """The header of a model like Llama 3 8B: 128 KiB of f16 cache a token."""
    tensors = {f"blk.{n}.ffn_up.weight": Tensor((wide, 4), 1, layer) for n in range(blocks)}
    tensors |= {
        "token_embd.weight": Tensor((wide, 32_000), 1, 500 * MB),
        "output.weight": Tensor((wide, 32_000), 1, 500 * MB),
    }
    said: dict[str, object] = {
        "block_count": blocks, "embedding_length": wide, "context_length": 131_072,
        "attention.head_count": 32, "attention.head_count_kv": 8, "feed_forward_length": 14_336,
        "vocab_size": 32_000,
    }  # fmt: skip
    said |= {key.replace("__", "."): value for key, value in keys.items()}
    metadata = {f"llama.{key}": value for key, value in said.items()}
    return Gguf({"general.architecture": "llama", **metadata}, tensors, 0)


@pytest.mark.parametrize(
    ("keys", "more", "a_token"),
    [
        ({}, {}, 32 * 2 * 8 * 128 * 2),
        ({}, {"cache_type": "q8_0"}, 32 * 2 * 8 * 128 * 34 // 32),
        ({}, {"cache_type": "q4_0"}, 32 * 2 * 8 * 128 * 18 // 32),
        ({"attention__head_count_kv": 32}, {}, 32 * 2 * 32 * 128 * 2),
        ({"attention__head_count_kv": tuple([8, 4] * 16)}, {}, 16 * 2 * 12 * 128 * 2),
        ({"attention__key_length": 256, "attention__value_length": 64}, {}, 32 * 8 * 320 * 2),
        ({"attention__kv_lora_rank": 512, "rope__dimension_count": 64}, {}, 32 * 576 * 2),
    ],
)
def test_what_a_token_takes(keys: dict[str, object], more: dict[str, str], a_token: int):
    for cells in (256, 8192):
        assert sum(caches(model(**keys), Plan(cells, **more))) == cells * a_token  # type: ignore[arg-type]
    assert sum(caches(model(**keys), Plan(257, **more))) == 512 * a_token  # type: ignore[arg-type]


def test_a_window_and_a_state_that_do_not_grow():
    windowed = model(attention__sliding_window=1024, attention__sliding_window_pattern=6)
    full, short = Plan(32_768), Plan(32_768, sequences=1, whole_window=False)
    assert sum(caches(windowed, full)) == sum(caches(model(), full))
    one = caches(model(), Plan(256))[0] // 256
    assert caches(windowed, short)[:6] == [one * 1536] * 5 + [one * 32_768]
    hybrid = model(
        attention__head_count_kv=(0, 8) * 16, ssm__inner_size=8192, ssm__state_size=16,
        ssm__conv_kernel=4,
    )  # fmt: skip
    state, attention = caches(hybrid, Plan(4096, sequences=2))[:2]
    assert state == 2 * 4 * (3 * 8192 + 8192 * 16)
    assert attention == 4096 * one


def test_a_second_context_remembers_as_much_as_the_first_and_reads_little_at_once():
    wishes = ({}, {"cfg_cache": True}, {"ubatch_size": PIECE})
    one, two, piece = (need(model(), plan(model(), more, 4096, card=False)) for more in wishes)
    assert two == (one.weights, 2 * one.cache, one.compute + piece.compute)


def test_computing_grows_with_the_context_unless_attention_is_flash():
    slow = need(model(), Plan(32_768)).compute
    assert slow == pytest.approx(32_768 * 512 * 33 * 4, rel=0.05)
    assert need(model(), Plan(32_768, ubatch=64)).compute < slow / 7
    assert need(model(), Plan(32_768, flash=True)).compute < slow / 10


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, Plan(100, "f16", 512, 32, False, True)),
        ({"cache_type": "q8_0"}, Plan(100, "q8_0", 512, 32, True, True)),
        ({"flash_attn": "on", "ubatch_size": 256}, Plan(100, "f16", 256, 32, True, True)),
        ({"batch_size": 64, "parallel": 2}, Plan(100, "f16", 64, 4, False, True)),
        ({"parallel": 200}, Plan(100, "f16", 512, 256, False, True)),
    ],
)
def test_what_the_options_say_of_memory(options: dict[str, object], wanted: Plan):
    assert plan(model(), options, 100, card=False) == wanted


LARGE = model()._replace(size=5 * GB)


@pytest.mark.parametrize(
    ("options", "card", "rows"),
    [
        ({}, False, 64), ({}, True, 512), ({"ubatch_size": 16}, False, 16),
        ({"parallel": 100}, False, 100),
    ],
)  # fmt: skip
def test_the_prebuilt_engine_reads_a_large_model_in_narrow_steps(
    options: dict[str, int], card: bool, rows: int
):
    assert plan(LARGE, options, 100, card=card, prebuilt=True).ubatch == rows


def test_nothing_is_refused_for_steps_that_the_engine_does_not_make():
    assert check_fits(LARGE, {}, Machine(5 * GB), 32_768, prebuilt=True) == 0
    with pytest.raises(Refused, match="32,768 tokens"):
        check_fits(LARGE, {}, Machine(5 * GB), 32_768)


def test_what_the_prebuilt_engine_and_cards_change():
    assert plan(model(), {}, 100, card=True).flash
    assert plan(model(), {}, 100, card=False, prebuilt=True) == Plan(
        100, "f16", 512, 4, False, 1, False
    )


# --- cards ------------------------------------------------------------------------------

SMALL = Plan(4096, flash=True)
LAYER = 200 * MB + 4096 * 4096
OVER = RESERVE + need(model(), SMALL).compute + 500 * MB
"""What a card needs beside the layers: a reserve, computing, the output."""


@pytest.mark.parametrize(
    ("cards", "options", "fit"),
    [
        ((0,), {}, 0),
        ((OVER - 1,), {}, 0),
        ((OVER,), {}, 1),  # the output alone, which llama.cpp counts as a layer
        ((OVER + LAYER,), {}, 2),
        ((OVER + 10 * LAYER + LAYER // 2,), {}, 11),
        ((OVER + 32 * LAYER - 1,), {}, 32),
        ((OVER + 32 * LAYER,), {}, EVERYTHING),
        ((80 * GB,), {}, EVERYTHING),
        ((OVER + 16 * LAYER, OVER + 17 * LAYER), {}, EVERYTHING),
        ((OVER + 4 * LAYER, 0), {}, 5),
        ((OVER + 10 * 200 * MB,), {"no_kv_offload": True}, 11),
    ],
)
def test_the_layers_that_fit_cards(cards: tuple[int, ...], options: dict[str, object], fit: int):
    assert layers_on_cards(model(), SMALL, cards, options) == fit


def test_experts_stay_in_memory_when_asked():
    file = model()
    for block in range(32):
        file.tensors[f"blk.{block}.ffn_up_exps.weight"] = Tensor((4, 4), 1, 2 * GB)
    assert layers(file)[0] == 2 * GB + 200 * MB
    card = (OVER + 32 * LAYER,)
    assert layers_on_cards(file, SMALL, card, {}) < 5
    assert layers_on_cards(file, SMALL, card, {"cpu_moe": True}) == EVERYTHING


# --- what fits --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "cards", "context"),
    [
        (64 * GB, (), 94_464),
        (16 * GB, (), 14_080),
        (9 * GB, (), 2304),
        (4 * GB, (), 512),
        (16 * GB, (80 * GB,), 131_072),
        (16 * GB, (16 * GB,), 60_160),
        (16 * GB, (4 * GB,), 31_232),  # too small a card for all of it
    ],
)
def test_the_context_where_nobody_chose_one(memory: int, cards: tuple[int, ...], context: int):
    machine = Machine(memory, cards)
    found = context_that_fits(model(), {}, machine, 131_072)
    assert found == context
    if found > 512:
        more = plan(model(), {}, found + 256, card=bool(cards))
        if (
            cards
            and layers_on_cards(model(), plan(model(), {}, found, card=True), cards, {})
            == EVERYTHING
        ):
            assert found == 131_072 or layers_on_cards(model(), more, cards, {}) < EVERYTHING
        else:
            left = memory + sum(cards) - model().weights
            wanted = need(model(), more)
            assert wanted.cache + wanted.compute > left / 3
    assert context_that_fits(model(), {}, machine, 256) == 256, "never more than was trained"


def test_the_longest_context_is_the_longest():
    for free in (100 * MB, 700 * MB, 3 * GB, 90 * GB):
        found = longest_context(model(), Plan(1), free, 131_072)
        for cells, fits in ((found, True), (found + 256, False)):
            wanted = need(model(), Plan(max(512, cells)))
            if found < 131_072:
                assert (wanted.cache + wanted.compute <= free) is (fits and found > 0)


@pytest.mark.parametrize(
    ("memory", "options", "words"),
    [
        (6 * GB, {}, "Take a smaller model or a smaller quantization of it, or close"),
        (13 * GB, {"mmap": False}, "It fits with a context of 27,648 tokens or with the cache"),
        (13 * GB, {"mlock": True}, "type q8_0 or with a ubatch_size of 64."),
        (9 * GB, {"mmap": False}, "with a context of 7,680 tokens or with the cache type q4_0."),
        (1 * GB, {"mmap": False}, "Take a smaller model or a smaller quantization of it, or close"),
    ],
)
def test_what_surely_does_not_fit_is_refused_with_numbers(
    memory: int, options: dict[str, object], words: str
):
    with pytest.raises(Refused) as refusal:
        check_fits(model(), options, Machine(memory), 32_768)
    said = str(refusal.value)
    assert words in said
    assert said.startswith("This model needs 14.0 GB of memory with a context of 32,768 tokens (")
    assert len(said) < 400


def test_what_fits_is_not_refused():
    assert check_fits(model(), {}, Machine(16 * GB), 32_768) == 0
    assert check_fits(model(), {"mmap": False}, Machine(16 * GB), 32_768) == 0
    assert check_fits(model(), {}, Machine(4 * GB), 4096) == 0, "weights may stay in the file"
    odd = model(ssm__state_size=16)
    assert check_fits(odd, {"flash_attn": "on"}, Machine(1 * GB), 131_072) == 0
    assert check_fits(model(), {}, Machine(16 * GB, (80 * GB,)), 32_768) == EVERYTHING


def test_more_layers_than_fit_are_refused_with_the_number_that_does():
    machine = Machine(64 * GB, (4 * GB,))
    with pytest.raises(Refused, match=r"^32 layers of this model .* Choose 10, or -1"):
        check_fits(model(), {"gpu_layers": 32}, machine, 8192)
    assert check_fits(model(), {"gpu_layers": 5}, machine, 8192) == 5
    assert check_fits(model(), {"gpu_layers": 99}, Machine(64 * GB, (80 * GB,)), 8192) == 99
    assert check_fits(model(), {"gpu_layers": 99}, Machine(64 * GB), 8192) == 0, "no card"


# --- what is free -----------------------------------------------------------------------


def machine(root: Path, **files: str) -> Path:
    for name, content in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8000 kB\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_free_memory_is_the_least_of_all_limits(tmp_path: Path):
    assert free_memory(machine(tmp_path / "plain")) == 8000 << 10
    second = {
        "proc__self__cgroup": "0::/a/b\n",
        "sys__fs__cgroup__a__memory_DOT_max": "5000000\n",
        "sys__fs__cgroup__a__memory_DOT_current": "2000000\n",
        "sys__fs__cgroup__a__memory_DOT_stat": "anon 1\ninactive_file 500000\n",
        "sys__fs__cgroup__a__b__memory_DOT_max": "max\n",
        "sys__fs__cgroup__a__b__memory_DOT_current": "2000000\n",
    }
    assert free_memory(machine(tmp_path / "two", **second)) == 3_500_000
    first = {
        "proc__self__cgroup": "4:memory:/x\n2:cpu:/\n",
        "sys__fs__cgroup__memory__x__memory_DOT_limit_in_bytes": "4000000\n",
        "sys__fs__cgroup__memory__x__memory_DOT_usage_in_bytes": "3000000\n",
        "sys__fs__cgroup__memory__x__memory_DOT_stat": "total_inactive_file 100000\n",
    }
    assert free_memory(machine(tmp_path / "one", **first)) == 1_100_000
    full = {**second, "sys__fs__cgroup__a__memory_DOT_current": "9000000\n"}
    assert free_memory(machine(tmp_path / "full", **full)) == 0
    assert free_memory(tmp_path / "nothing") > 1 << 30, "another system: the physical memory"


def test_the_real_machine_and_a_real_model():
    assert 0 < free_memory() < 1 << 50
    wanted = need(check_gguf(STORIES), Plan(2048))
    assert wanted.weights == 1_171_200
    assert wanted.cache == 2048 * 5 * 2 * 4 * 8 * 2
