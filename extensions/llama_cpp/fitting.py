"""Whether a model fits the memory, and what would: in numbers, before and after llama.cpp fails."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from extensions.engine_kit.api import Gguf, size
from extensions.llama_cpp.meaning import BLOCK, WHOLE, head_widths
from extensions.llama_cpp.memory import (
    EVERYTHING,
    LEAST,
    STEP,
    Need,
    Plan,
    caches,
    compute,
    layers,
    layers_on_cards,
    longest_context,
    need,
    number,
    plan,
)
from extensions.llama_cpp.quantizations import small_enough
from kernel.contract import Refused

SMALLER = ("q8_0", "q4_0")
"""Cache types that are advised, the best first."""
SHARE = 1 / 3
"""Of the memory that the weights leave, what a context may take whose length nobody chose."""
WISHED = 4096
"""Tokens; for a context of that length all of a model is put on the cards where it can be."""


ODD = (
    "ssm.state_size", "full_attention_interval", "shortconv.l_cache", "wkv.head_size",
    "attention.shared_kv_layers", "attention.kv_lora_rank", "attention.indexer.top_k",
)  # fmt: skip
"""What models say some of whose layers remember less, or otherwise."""


class Machine(NamedTuple):
    """Free bytes: of the machine's memory, and of each graphics card."""

    memory: int
    cards: tuple[int, ...] = ()


def context_that_fits(
    file: Gguf, options: Mapping[str, Any], machine: Machine, trained: int, **more: bool
) -> int:
    """The context length where the user chose none: all that was trained, if memory allows."""
    wished = plan(file, options, trained, card=bool(machine.cards), **more)
    if machine.cards and options.get("gpu_layers", -1) < 0:
        low, high = min(WISHED, trained) // STEP, trained // STEP + 1
        if layers_on_cards(file, wished, machine.cards, options) == EVERYTHING:
            return trained
        if on_cards(file, wished, machine, options, low * STEP):
            while high - low > 1:
                middle = (low + high) // 2
                fits = on_cards(file, wished, machine, options, middle * STEP)
                low, high = (middle, high) if fits else (low, middle)
            return low * STEP
    left = machine.memory + sum(machine.cards) - file.weights
    return longest_context(file, wished, int(left * SHARE), trained) or min(LEAST, trained)


def on_cards(
    file: Gguf, wished: Plan, machine: Machine, options: Mapping[str, Any], cells: int
) -> bool:
    placed = layers_on_cards(file, wished._replace(cells=cells), machine.cards, options)
    return cells > 0 and placed == EVERYTHING


def in_memory(file: Gguf, wished: Plan, on_card: int, options: Mapping[str, Any]) -> Need:
    """What is left for the machine's own memory with so many layers on cards."""
    blocks = layers(file)
    stay = max(0, len(blocks) + 1 - on_card)  # the output is the first that goes
    kept = caches(file, wished)
    if on_card and not options.get("no_kv_offload"):
        kept = kept[:stay]
    weights = file.weights - (sum(blocks[stay:]) if on_card else 0)
    if options.get("cpu_moe"):
        weights += sum(blocks[stay:]) - sum(layers(file, experts=False)[stay:])
    return Need(weights, sum(kept), compute(file, wished))


def check_fits(
    file: Gguf, options: Mapping[str, Any], machine: Machine, cells: int, **more: bool
) -> int:
    """The layers that go to the cards; raises Refused for what surely finds no memory.

    Weights that are read from the file as they are needed (mmap) may be more than the memory.
    """
    wished = plan(file, options, cells, card=bool(machine.cards), **more)
    on_card = placed(file, options, machine, wished)
    wanted = in_memory(file, wished, on_card, options)
    # What some kinds of models remember is not known so well that they could be refused for it.
    sure = wanted.compute + (wanted.cache if certain(file) else 0)
    if not options.get("mmap", True) or options.get("mlock"):
        sure += wanted.weights
    if sure > machine.memory:
        raise Refused(too_little(file, wished, wanted, machine.memory))
    return on_card


def placed(file: Gguf, options: Mapping[str, Any], machine: Machine, wished: Plan) -> int:
    """The layers that go to the cards: as many as fit, or what the user says if that can be."""
    asked = options.get("gpu_layers", -1)
    if not machine.cards or not asked:
        return 0
    fit = layers_on_cards(file, wished, machine.cards, options)
    if asked < 0:
        return fit
    possible = layers_on_cards(file, wished, machine.cards, options, reserve=0)
    if min(asked, number(file, "block_count", 1)) > possible and certain(file):
        raise Refused(
            f"{asked:,} layers of this model do not fit the {size(sum(machine.cards))} that are "
            f"free on the graphics card, with a context of {wished.cells:,} tokens. Choose "
            f"{fit:,}, or -1 to let Spindle choose; a shorter context makes room for more."
        )
    return asked


def certain(file: Gguf) -> bool:
    """Whether each layer remembers every token, as in most models."""
    return not any(file.of_arch(key) for key in ODD)


def too_little(file: Gguf, wished: Plan, wanted: Need, memory: int) -> str:
    """The sentence: what it takes, what is free, what would fit."""
    left = memory - wanted.weights
    said = (
        f"This model needs {size(wanted.total)} of memory with a context of {wished.cells:,} "
        f"tokens ({parts(wanted)}), and {size(memory)} are free."
    )
    return f"{said} {advice(file, wished, left)}"


def ran_out(file: Gguf, wished: Plan, moment: str, free: int, *, loaded: bool) -> str:
    """The sentence where llama.cpp found no memory after all, with `free` bytes left of it.

    A model that is `loaded` holds what its context takes, which a smaller one would give back.
    """
    wanted = need(file, wished)
    held = wanted.cache + wanted.compute if loaded else 0
    left = min(free + held, (wanted.cache + wanted.compute) * 3 // 4)
    said = f"The memory ran out while {moment} ({parts(wanted)}; {size(free)} were free)."
    return f"{said} {advice(file, wished, left)}"


def advice(file: Gguf, wished: Plan, left: int) -> str:
    """What would fit into the `left` bytes beside the weights."""
    found: list[str] = []
    if fits := longest_context(file, wished, left, max(LEAST, wished.cells)):
        found.append(f"with a context of {fits:,} tokens")
    for kind in SMALLER:
        less = wished._replace(cache_type=kind, flash=True)
        if smaller(kind, wished.cache_type) and quantizable(file):
            wanted = need(file, less)
            if wanted.cache + wanted.compute <= left:
                found.append(f"with the cache type {kind}")
                break
    thin = wished._replace(ubatch=64)
    if wished.ubatch > 64 and (wanted := need(file, thin)).cache + wanted.compute <= left:
        found.append("with a ubatch_size of 64")
    if found:
        return f"It fits {' or '.join(found)}."
    short = need(file, wished._replace(cells=min(LEAST, wished.cells)))
    return smaller_model(file, left + file.weights - short.cache - short.compute)


def smaller_model(file: Gguf, room: int) -> str:
    """What to take where the weights have so many bytes and need more."""
    if name := small_enough(file, room):
        return f"Try a smaller quantization of it, such as {name}, or close other programs."
    return "Take a smaller model or a smaller quantization of it, or close other programs."


def smaller(kind: str, than: str) -> bool:
    order = (*WHOLE, *SMALLER)
    return than not in order or order.index(kind) > order.index(than)


def quantizable(file: Gguf) -> bool:
    """Whether heads can be cut into the blocks that quantized caches consist of."""
    return all(width % BLOCK == 0 for width in head_widths(file))


def parts(wanted: Need) -> str:
    return (
        f"{size(wanted.weights)} of weights, {size(wanted.cache)} for conversations, "
        f"{size(wanted.compute)} to compute in"
    )
