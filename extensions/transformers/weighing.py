"""What a folder of safetensors would take of the memory, told before it is loaded."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from extensions.engine_kit.api import Fit, Memory, Share, check_folder, size
from kernel.contract import Refused

ENGINE = 360_000_000
"""Bytes that PyTorch and transformers take without a model, as it was measured."""
STEP = 12_000_000
"""Bytes of a step that do not depend on the model; measured."""
CHUNK = 256
"""Tokens of a prompt that are read at once (see worker.py)."""
CONVERSATIONS = 6
"""The one that is written, the four that are remembered, and one more while the oldest of them has
not given way (see batch.py)."""
RESERVE = 1 << 30
"""Bytes of a graphics card that stay free: for its driver and for the screen."""
LEAST = 512
"""Tokens; a shorter context is of no use."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
OTHERS = {"I64": 8, "I32": 4, "I16": 2, "U64": 8, "U32": 4, "U16": 2, "C64": 8}
"""What is no fraction; anything else takes a byte."""
FLOATS = ("F64", "F32", "F16", "BF16")
NAMES = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
GROWING = ("full_attention", "attention", "sliding_attention", "chunked_attention")


class Folder(NamedTuple):
    """What config.json and the headers say; `numbers` counts the weights of each number format."""

    config: Mapping[str, Any]
    numbers: Mapping[str, int]

    def number(self, *names: str, default: int = 0) -> int:
        """The first of these that the text model's config has."""
        found = (self.config.get(name) for name in names)
        return next((each for each in found if isinstance(each, int) and each), default)


class Folders:
    """Reads a folder's headers, and remembers the last while its files stay as they are."""

    def __init__(self) -> None:
        self._last: tuple[Any, Folder] | None = None

    def of(self, path: Path) -> Folder:
        """Blocks while the headers are read; raises Refused."""
        files = [*sorted(path.glob("*.safetensors")), path / "config.json"]
        stamp = [
            (file, now.st_mtime_ns, now.st_size)
            for file in files
            if file.is_file() and (now := file.stat())
        ]
        if not self._last or self._last[0] != stamp:
            self._last = stamp, read(path)
        return self._last[1]


def read(path: Path) -> Folder:
    numbers: dict[str, int] = {}
    for entry in check_folder(path).values():
        numbers[entry.dtype] = numbers.get(entry.dtype, 0) + math.prod(entry.shape)
    try:
        config = msgspec.json.decode((path / "config.json").read_bytes(), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise Refused(f"config.json is damaged ({error}). Download the model again.") from error
    inner = config.get("text_config")
    return Folder({**config, **inner} if isinstance(inner, dict) else config, numbers)


def weigh(
    folder: Folder, options: Mapping[str, Any], memories: Sequence[Memory], *, fast: Collection[str]
) -> Fit:
    """`fast`: the number formats that the processor computes with."""
    device, own, cards = options.get("device", "auto"), memories[0], memories[1:]
    if device == "cuda" and not cards:
        return Fit("not", "PyTorch finds no graphics card here. Choose another device.")
    card = cards[0] if cards and device != "cpu" else None
    dtype = number_format(folder, options.get("dtype", "auto"), BYTES if card else fast)
    trained = folder.number("max_position_embeddings", "n_positions", default=2048)
    cells = min(options.get("context_length", 0) or trained, trained)
    memory, free = (card, card.free - RESERVE) if card else (own, own.free - ENGINE)
    found = parts(folder, dtype, cells)
    room = free - weights(folder, dtype)
    if card:
        shares = (Share(own, compute=ENGINE), Share(card, *found))
    else:
        shares = (Share(own, found[0], found[1], found[2] + ENGINE),)
    where = "on the graphics card" if card else "in memory"
    if sum(found) <= free:
        return Fit("fits", f"It fits {where}, with a context of {cells:,} tokens.", shares)
    left = f"{size(memory.free)} are free"
    if card:
        left += f", of which {size(RESERVE)} stay for the driver and the screen"
    longest = longest_context(folder, dtype, room, cells)
    if longest >= min(LEAST, cells):
        return Fit(
            "tight",
            f"It fits {where} for conversations of up to about {longest:,} tokens; at "
            f"{cells:,} they would need {size(shares[-1].total)}, and {left}. Choose a context "
            f"length of {longest:,}.",
            shares,
        )
    said = f"It will not fit {where}: it needs {size(shares[-1].total)}, and {left}."
    return Fit("not", f"{said} {advice(folder, dtype, card, free, own)}", shares)


def advice(folder: Folder, dtype: str, card: Memory | None, free: int, own: Memory) -> str:
    if dtype == "float32" and fits(folder, "bfloat16", free):
        return "Try the number format bfloat16, which takes half."
    if card and fits(folder, dtype, own.free - ENGINE):
        return "Try the device cpu: there is room in the machine's own memory."
    return "Try a smaller model, or a GGUF form of it with a smaller quantization."


def fits(folder: Folder, dtype: str, free: int) -> bool:
    return sum(parts(folder, dtype, LEAST)) <= free


# --- the parts --------------------------------------------------------------------------


def parts(folder: Folder, dtype: str, cells: int) -> tuple[int, int, int]:
    """Bytes of the weights, of what conversations remember, and of what a step computes in."""
    kept = caches(folder, dtype, cells)
    return weights(folder, dtype), CONVERSATIONS * sum(kept), compute(folder, dtype, max(kept))


def weights(folder: Folder, dtype: str) -> int:
    """All numbers are turned into one format; those that are no fractions stay as they are."""
    return sum(
        count * (BYTES[dtype] if kind in FLOATS else OTHERS.get(kind, 1))
        for kind, count in folder.numbers.items()
    )


def caches(folder: Folder, dtype: str, cells: int) -> list[int]:
    """What each layer remembers of one conversation."""
    layers = folder.number("num_hidden_layers", "n_layer", "num_layers", default=1)
    window = folder.number("sliding_window")
    kinds = folder.config.get("layer_types")
    kinds = kinds if isinstance(kinds, list) else ["full_attention"] * layers
    a_token = numbers_of_a_token(folder) * BYTES[dtype]
    found = [0]
    for kind in kinds[:layers]:
        short = kind == "sliding_attention" and window
        if kind in GROWING:
            found.append(a_token * (min(cells, window) if short else cells))
    return found


def numbers_of_a_token(folder: Folder) -> int:
    width = folder.number("hidden_size", "n_embd", "d_model", default=1)
    heads = folder.number("num_attention_heads", "n_head", default=1)
    if folder.number("kv_lora_rank"):  # transformers remembers what it makes of it
        each = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        return heads * sum(map(folder.number, each))
    one = folder.number("head_dim", default=width // heads)
    return 2 * one * folder.number("num_key_value_heads", default=heads)


def compute(folder: Folder, dtype: str, layer: int) -> int:
    """What lies beside the weights in a step: activations, and a layer's cache while it grows."""
    width = folder.number("hidden_size", "n_embd", "d_model", default=1)
    inner = folder.number("intermediate_size", "n_inner", "d_ff", default=4 * width)
    return STEP + CHUNK * BYTES[dtype] * (8 * width + 4 * inner) + 2 * layer


def longest_context(folder: Folder, dtype: str, room: int, most: int) -> int:
    """The most tokens, of steps of 256, whose cache and computing fit into `room` bytes."""
    low, high = 0, most // 256 + 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = sum(parts(folder, dtype, middle * 256)[1:]) <= room
        low, high = (middle, high) if enough else (low, middle)
    return low * 256


# --- number formats ---------------------------------------------------------------------


def number_format(folder: Folder, wanted: str, fast: Collection[str]) -> str:
    """The files' own where that is among the `fast` ones, as a load chooses it, too."""
    if wanted != "auto":
        return wanted
    said = folder.config.get("dtype") or folder.config.get("torch_dtype")
    if said not in BYTES:
        said = next((NAMES[kind] for kind in folder.numbers if kind in NAMES), "float32")
    return str(said) if said in fast else "float32"


def fast_formats(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The number formats that the processor has instructions for, as Linux tells them."""
    try:
        flags = cpuinfo.read_text("utf-8", "replace").partition("\n\n")[0].split()
    except OSError:
        flags = []
    known = {"avx512_bf16": "bfloat16", "avx512_fp16": "float16"}
    return frozenset(("float32", *(known[flag] for flag in known if flag in flags)))
