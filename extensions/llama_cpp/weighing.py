"""What a model would take of each memory, told before it is loaded; and whether it fits."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import Fit, Gguf, Memory, Share, check_gguf_model, size
from extensions.llama_cpp.files import context_length
from extensions.llama_cpp.fitting import (
    Machine,
    certain,
    check_fits,
    smaller_model,
    too_little,
)
from extensions.llama_cpp.meaning import shares as divided
from extensions.llama_cpp.meaning import weighted
from extensions.llama_cpp.memory import (
    RESERVE,
    Need,
    Plan,
    caches,
    compute,
    layers,
    number,
    plan,
    touched,
    vocabulary,
)
from extensions.llama_cpp.quantizations import small_enough
from kernel.contract import Refused

TOKEN = 400
"""Bytes that one token of the vocabulary takes, in llama.cpp and in what checks the file; measured
with 32,000 tokens."""
LONG = 4096
"""Entries; what lists as long say is not needed here, only how long they are."""


class Headers:
    """Reads the header of a file, and remembers the last one while the file stays as it is."""

    def __init__(self) -> None:
        self._last: tuple[tuple[Path, int, int], Gguf] | None = None

    def of(self, path: Path) -> Gguf:
        """Blocks for what a header takes to read; raises Refused for one that is damaged."""
        now = path.stat()
        stamp = path, now.st_mtime_ns, now.st_size
        if not self._last or self._last[0] != stamp:
            self._last = stamp, slim(check_gguf_model(path))
        return self._last[1]


def slim(file: Gguf) -> Gguf:
    """The header without the vocabulary, which would take a hundred times as much."""
    metadata = {
        key: range(len(value)) if isinstance(value, list | tuple) and len(value) > LONG else value
        for key, value in file.metadata.items()
    }
    return file._replace(metadata=metadata)


def weigh(
    file: Gguf,
    options: Mapping[str, Any],
    memories: Sequence[Memory],
    *,
    prebuilt: bool,
    engine: int,
    beside: int = 0,
) -> Fit:
    """`engine` is what the process takes without a model, `beside` the files that come with it."""
    own, cards = memories[0], memories[1:]
    machine = Machine(own.free, tuple(card.free for card in cards))
    cells = context_length(file, options, machine, prebuilt=prebuilt)
    wished = plan(file, options, cells, card=bool(cards), prebuilt=prebuilt)
    try:
        count = check_fits(file, options, machine, cells, prebuilt=prebuilt)
    except Refused as error:
        wanted = in_own(file, wished, [], engine, beside)
        return Fit("not", f"It will not fit. {error}", (share(own, wanted),))
    there = on_cards(file, wished, count, options, cards)
    wanted = in_own(file, wished, there, engine, beside)
    found = (share(own, wanted), *map(share, cards, there))
    if wanted.total > own.free:
        return too_large(file, wished, wanted, options, own, found)
    more = options.get("cache_ram", 512) << 20
    said = fitting(file, wished, count, wanted, more, found)
    if short := beyond(options, cells):
        said += f" {short}"
    if options.get("rpc"):
        said += " What other machines take of it (RPC servers) is not known here."
    return Fit("fits", said, found)


def beyond(options: Mapping[str, Any], cells: int) -> str:
    """What is said where a longer context is wanted than the `cells` that the model reaches."""
    if (wanted := options.get("context_length", 0)) <= cells:
        return ""
    return (
        f"It reaches no further: {wanted:,} tokens were wanted. Alpha value, position divisor or "
        "RoPE base stretch it."
    )


def share(memory: Memory, need: Need) -> Share:
    return Share(memory, *need)


# --- where the parts lie ----------------------------------------------------------------


def on_cards(
    file: Gguf, wished: Plan, count: int, options: Mapping[str, Any], cards: Sequence[Memory]
) -> list[Need]:
    """What each card gets: llama.cpp divides the layers by what is free, or by tensor_split."""
    sizes, kept = layers(file, experts=not options.get("cpu_moe")), caches(file, wished)
    if options.get("no_kv_offload"):
        kept = [0] * len(kept)
    sizes.append(output(file))  # llama.cpp counts it as the last layer
    kept.append(0)
    active = min(count, len(sizes))
    if not cards or not active:
        return [Need(0, 0, 0) for _ in cards]
    weights, cache = [0] * len(cards), [0] * len(cards)
    for at, layer in enumerate(range(len(sizes) - active, len(sizes))):
        card = card_of(at / active, options, cards)
        weights[card] += sizes[layer]
        cache[card] += kept[layer]
    room = compute(file, wished)
    return [Need(w, c, room if w or c else 0) for w, c in zip(weights, cache, strict=True)]


def card_of(place: float, options: Mapping[str, Any], cards: Sequence[Memory]) -> int:
    """The card of a layer at this part of all that go to cards."""
    if options.get("split_mode", "layer") == "none":
        return min(options.get("main_gpu", 0), len(cards) - 1)
    parts = [*divided(options), *[0.0] * len(cards)][: len(cards)]
    parts = parts if sum(parts) else [float(card.free) for card in cards]
    ends = [end / (sum(parts) or 1) for end in accumulate(parts)]
    return min(bisect_right(ends, place), len(cards) - 1)


def output(file: Gguf) -> int:
    """The bytes of the last layer, which may be the table of embeddings once more."""
    names = ("output.weight", "token_embd.weight")
    return next((file.tensors[name].bytes for name in names if name in file.tensors), 0)


def in_own(file: Gguf, wished: Plan, there: Sequence[Need], engine: int, beside: int) -> Need:
    """What stays in the machine's own memory."""
    gone = sum(need.weights for need in there)
    if gone and "output.weight" not in file.tensors:
        gone -= output(file)  # a copy: the table of embeddings stays
    cache = sum(caches(file, wished)) - sum(need.cache for need in there)
    weights = max(0, file.weights - gone)
    all_gone = gone > 0 and weights <= output(file) and not cache
    steps = 0 if all_gone else touched(file, wished)
    return Need(weights + beside, cache, steps + engine + TOKEN * vocabulary(file))


def files_beside(options: Mapping[str, Any], path: Path, loras: Path) -> int:
    """Bytes of the adapters and of what sees pictures, as far as they are found."""
    names = [weighted(line)[0] for line in options.get("lora", ())]
    names += filter(None, [options.get("mmproj", "")])
    found = 0
    for name in names:
        places = (Path(name).expanduser(), path.parent / name, loras / name, loras / f"{name}.gguf")
        found += next((each.stat().st_size for each in places if each.is_file()), 0)
    return found


# --- in words ---------------------------------------------------------------------------


def fitting(
    file: Gguf, wished: Plan, count: int, wanted: Need, more: int, found: Sequence[Share]
) -> str:
    """`more` is what other things may take beside it later, in bytes."""
    blocks, own = number(file, "block_count", 1) + 1, found[0].memory
    cards = [each for each in found[1:] if each.weights or each.cache]
    fits = "It fits" if certain(file) else "It should fit"
    words = f"with a context of {wished.cells:,} tokens"
    close = (
        f" It is close: what displaced conversations leave may take {size(more)} more (Prefix "
        "cache)."
        if wanted.total + more > own.free
        else ""
    )
    if not cards:
        unused = " No layer goes to the graphics card." if found[1:] else ""
        return f"{fits} {words}.{unused}{close}"
    name = "the graphics card" if len(cards) == 1 else f"{len(cards)} graphics cards"
    if count >= blocks:
        return f"{fits} on {name} as a whole, {words}.{close}"
    whole = small_enough(file, room_on(cards, file, wished))
    instead = f" As {whole} it would fit there as a whole." if whole else ""
    return (
        f"{fits} with {count} of {blocks} layers on {name}, {words}; the processor runs the "
        f"others, which is slower.{instead}{close}"
    )


def room_on(cards: Sequence[Share], file: Gguf, wished: Plan) -> int:
    """Bytes that the cards leave for weights where everything else is there, too."""
    each = RESERVE + compute(file, wished)
    return sum(share.memory.free - each for share in cards) - sum(caches(file, wished))


def too_large(
    file: Gguf,
    wished: Plan,
    wanted: Need,
    options: Mapping[str, Any],
    own: Memory,
    found: tuple[Share, ...],
) -> Fit:
    """More than is free: weights may stay in the file, and are read again and again then."""
    mapped = options.get("mmap", True) and not options.get("mlock")
    if mapped and wanted.total - wanted.weights <= own.free:
        return Fit(
            "tight",
            f"It will be very slow: of {size(wanted.total)} that it needs, {size(own.free)} are "
            "free, so its weights are read from the disk again and again. "
            + smaller_model(file, own.free - wanted.total + wanted.weights),
            found,
        )
    return Fit("not", f"It will not fit. {too_little(file, wished, wanted, own.free)}", found)
