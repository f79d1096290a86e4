"""What a model will take of the memory, computed from its header before llama.cpp allocates it.

The sums are llama.cpp's own (llama-kv-cache.cpp, and the worst case that llama_context reserves);
tests/engines/test_out_of_memory.py compares them with what it really allocates.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from extensions.engine_kit.api import Gguf
from extensions.llama_cpp.meaning import BITS, WHOLE, together, tokens_at_once

STEP = 256
"""Tokens; llama.cpp rounds contexts up to a multiple."""
LEAST = 512
"""Tokens; a shorter context is of no use."""
ACTIVE = 7
"""Rows of the model's width that a layer holds at once: the residual, queries, keys, values…"""
PIECE = 64
"""Tokens that a context beside the first reads at once."""
RESERVE = 1 << 30
"""Bytes of a graphics card that stay free: for its driver and for the screen (as --fit has it)."""
EVERYTHING = 999
"""More layers than any model has: the output layer too."""


class Need(NamedTuple):
    """Bytes: the weights, what conversations remember, and what a step computes in."""

    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute


class Plan(NamedTuple):
    """The choices that memory depends on; `sequences` are those kept apart."""

    cells: int
    cache_type: str = "f16"
    ubatch: int = 512
    sequences: int = 32
    flash: bool = False
    contexts: int = 1
    """So many of the same size: guidance and the like have one of their own."""
    whole_window: bool = True
    """Layers with a sliding window remember everything too, so that beginnings can be reused."""


def plan(
    file: Gguf, options: Mapping[str, Any], cells: int, *, card: bool, prebuilt: bool = False
) -> Plan:
    """What the options say of it, and the ready-made engine's way to read prompts."""
    kind = options.get("cache_type", "f16")
    wish = options.get("flash_attn", "auto")
    flash = wish == "on" or (wish == "auto" and (card or kind not in WHOLE))
    if prebuilt:
        batch, sequences = tokens_at_once(file, options, card=card), together(options)
    else:
        batch = options.get("batch_size", 512)
        sequences = min(256, 2 * (options.get("parallel", 0) or 16))
    ubatch = min(options.get("ubatch_size", 512), batch)
    beside = 2 if options.get("cfg_cache") else 1
    return Plan(cells, kind, ubatch, sequences, flash, beside, not prebuilt)


def need(file: Gguf, plan: Plan) -> Need:
    """What the whole model takes, wherever its parts lie."""
    return Need(file.weights, sum(caches(file, plan)), compute(file, plan))


# --- the parts --------------------------------------------------------------------------


def layers(file: Gguf, *, experts: bool = True) -> list[int]:
    """The bytes of each layer, with or without a mixture's experts."""
    sizes = [0] * number(file, "block_count", 1)
    for name, tensor in file.tensors.items():
        found = re.match(r"blk\.(\d+)\.", name)
        if found and int(found[1]) < len(sizes) and (experts or "_exps" not in name):
            sizes[int(found[1])] += tensor.bytes
    return sizes


def caches(file: Gguf, plan: Plan) -> list[int]:
    """What each layer remembers of all conversations, in bytes."""
    blocks, width = number(file, "block_count", 1), number(file, "embedding_length", 1)
    heads = each(file, "attention.head_count", blocks, 0)
    shared = each(file, "attention.head_count_kv", blocks, heads)
    windows = sliding(file, blocks)
    state = 4 * plan.sequences * recurrent(file) * plan.contexts
    window = number(file, "attention.sliding_window", 0) * plan.sequences + plan.ubatch
    bits, rank = BITS[plan.cache_type], number(file, "attention.kv_lora_rank", 0)
    found: list[int] = []
    for block in range(blocks):
        if not shared[block]:
            found.append(state)
            continue
        own = width // max(1, heads[block])
        lengths = sum(number(file, f"attention.{part}_length", own) for part in ("key", "value"))
        if rank:  # one compressed row for all heads
            lengths = rank + number(file, "rope.dimension_count", 64)
        cells = rounded(plan.cells)
        if windows[block] and not plan.whole_window:
            cells = min(cells, rounded(window))
        numbers = lengths * (1 if rank else shared[block])
        found.append(int(cells * numbers * bits / 8) * plan.contexts)
    return found


def compute(file: Gguf, plan: Plan) -> int:
    """The largest moment of a step: attention, the layer after it, or the logits of all tokens."""
    rows, scores, inside, after = moments(file, plan)
    return rows * max(scores, inside, after) + outputs(file, plan) * plan.contexts


def touched(file: Gguf, plan: Plan) -> int:
    """What a processor's steps write to of that, and the copy that it makes of the scores.

    The logits of all tokens are only reserved: where nobody wants them, the system gives nothing.
    """
    rows, scores, inside, _ = moments(file, plan)
    heads = max(each(file, "attention.head_count", number(file, "block_count", 1), 0), default=0)
    copied = 0 if plan.flash or plan.cache_type == "f32" else 2 * heads * rounded(plan.cells)
    return rows * (max(scores, inside) + copied) + outputs(file, plan) * plan.contexts


def moments(file: Gguf, plan: Plan) -> tuple[int, int, int, int]:
    """The rows of a step of each context, and the bytes that one takes in attention, inside a
    layer, after all."""
    rows, width = min(plan.ubatch, plan.cells), number(file, "embedding_length", 1)
    rows += (plan.contexts - 1) * min(rows, PIECE)
    blocks, cells = number(file, "block_count", 1), rounded(plan.cells)
    heads = max(each(file, "attention.head_count", blocks, 0), default=0)
    inner = max(each(file, "feed_forward_length", blocks, 0), default=0)
    scores = cells * 2 if plan.flash else cells * 4 * (heads + 1)
    attention = (scores if heads else 0) + 4 * ACTIVE * width
    return rows, attention, 4 * (2 * inner + 2 * width), 4 * (vocabulary(file) + 3 * width)


def outputs(file: Gguf, plan: Plan) -> int:
    """The scores that a step hands out, of each sequence."""
    return 4 * plan.sequences * vocabulary(file)


def vocabulary(file: Gguf) -> int:
    return len(file.metadata.get("tokenizer.ggml.tokens", ())) or number(file, "vocab_size", 0)


def recurrent(file: Gguf) -> int:
    """Numbers of a state that does not grow, in a layer without attention."""
    width = number(file, "embedding_length", 1)
    if size := number(file, "wkv.head_size", 0):
        return width * (number(file, "token_shift_count", 2) + size)
    inner, state = number(file, "ssm.inner_size", 0), number(file, "ssm.state_size", 0)
    groups = number(file, "ssm.group_count", 0)
    convolved = max(0, number(file, "ssm.conv_kernel", 0) - 1) * (inner + 2 * groups * state)
    return convolved + inner * state


def sliding(file: Gguf, blocks: int) -> list[bool]:
    """Which layers look at a window only; a single number says every how many one sees all."""
    if not number(file, "attention.sliding_window", 0):
        return [False] * blocks
    pattern = file.of_arch("attention.sliding_window_pattern", 0)
    if isinstance(pattern, tuple):
        return [bool(flag) for flag in (*pattern, *[False] * blocks)[:blocks]]
    return [bool(pattern) and (block + 1) % pattern != 0 for block in range(blocks)]


# --- what fits --------------------------------------------------------------------------


def longest_context(file: Gguf, plan: Plan, free: int, most: int) -> int:
    """The most tokens whose cache and computing fit `free` bytes; 0 where not even LEAST do."""

    def fits(cells: int) -> bool:
        wanted = need(file, plan._replace(cells=cells))
        return wanted.cache + wanted.compute <= free

    least = min(LEAST, most)
    if fits(most):
        return most
    if not fits(least):
        return 0
    low, high = least // STEP, most // STEP + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * STEP) else (low, middle)
    return max(least, low * STEP)


def layers_on_cards(
    file: Gguf,
    plan: Plan,
    cards: Sequence[int],
    options: Mapping[str, Any],
    reserve: int = RESERVE,
) -> int:
    """How many of the last layers fit cards with so many free bytes each: gpu_layers of -1."""
    sizes = layers(file, experts=not options.get("cpu_moe"))
    kept = [0] * len(sizes) if options.get("no_kv_offload") else caches(file, plan)
    rooms = [free - reserve - compute(file, plan) for free in cards]
    output = next(
        (
            file.tensors[n].bytes
            for n in ("output.weight", "token_embd.weight")
            if n in file.tensors
        ),
        0,
    )
    # llama.cpp counts from the end: the output is the first, then the last layer.
    parts = [output, *(a + b for a, b in zip(sizes[::-1], kept[::-1], strict=True))]
    for count, size in enumerate(parts):
        card = next((number for number, room in enumerate(rooms) if room >= size), None)
        if card is None:
            return count
        rooms[card] -= size
    return EVERYTHING


# --- numbers of the header --------------------------------------------------------------


def number(file: Gguf, key: str, default: int) -> int:
    found = file.of_arch(key, default)
    found = max(found, default=default) if isinstance(found, tuple) else found
    return found if isinstance(found, int) else default


def each(file: Gguf, key: str, blocks: int, default: int | Sequence[int]) -> list[int]:
    """A number of every layer: the file says one for all, or a list."""
    found = file.of_arch(key, default)
    found = list(found) if isinstance(found, Sequence) else [found] * blocks
    return (found + [0] * blocks)[:blocks]


def rounded(cells: int) -> int:
    return -(-cells // STEP) * STEP
