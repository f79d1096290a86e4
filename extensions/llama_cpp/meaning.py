"""What the options mean in llama.cpp's own numbers, for both engines."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import Gguf, check_gguf_adapter, check_gguf_projector
from kernel.contract import Refused

SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
CACHE_TYPES = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20,
    "bf16": 30,
}  # fmt: skip
"""ggml's numbers of these types."""
BITS = {
    "f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q5_1": 6.0, "q5_0": 5.5, "q4_1": 5.0,
    "q4_0": 4.5, "iq4_nl": 4.5,
}  # fmt: skip
"""What one number takes in each."""
BLOCK = 32
"""Numbers that the small ones among them share a scale for."""
WHOLE = ("f16", "bf16", "f32")
"""Cache types that need no flash attention."""
LOAD_MODES = {(False, False): 0, (True, False): 1, (False, True): 2, (True, True): 3}
"""By mmap and mlock."""
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""The names of the tensors that hold a mixture's experts, as llama.cpp's own --cpu-moe has them."""
POOLING = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
"""llama.cpp's ways to make one vector of many."""
UNREADABLE = (
    "llama.cpp cannot read this grammar. Most often something is repeated that itself repeats, "
    "more than 2,000 times together. Ask for fewer repetitions."
)
PATIENCE = 5
"""Seconds that another machine may take to answer."""
NTK = 64 / 63
"""The exponent of alpha_value, for heads that are 128 wide; others hardly differ."""
SMALL = 100_000_000
"""Bytes; a smaller model is fastest on one thread."""
TOGETHER = 4
"""Requests that the ready-made engine decodes in one step, unless the options say otherwise; more
wait."""
AT_ONCE = 64
"""Tokens of prompts that it reads in one step on a processor, which nothing ends and for which all
other replies wait. More are no faster: 512 tokens of a model of a billion parameters take 8.9 s on
two cores, and 9.4 s in one step."""


def cache_type(options: Mapping[str, Any], file: Gguf | None = None) -> int:
    """ggml's number of it; raises Refused where the model's heads cannot be cut into its blocks."""
    name = options.get("cache_type", "f16")
    if file and name not in WHOLE and not file.of_arch("wkv.head_size"):
        for width in head_widths(file):
            if width % BLOCK:
                raise Refused(
                    f"The cache type {name} needs heads whose width is a multiple of {BLOCK}, and "
                    f"this model's are {width} wide. Take f16."
                )
    return CACHE_TYPES[name]


def head_widths(file: Gguf) -> tuple[int, int]:
    """The numbers that one head remembers of a token: of its key, and of its value."""
    heads = file.of_arch("attention.head_count", 1)
    heads = max(heads, default=1) if isinstance(heads, tuple) else heads
    own = file.of_arch("embedding_length", BLOCK) // max(1, heads)
    key, value = (file.of_arch(f"attention.{part}_length", own) for part in ("key", "value"))
    return key, value


def flash_attention(options: Mapping[str, Any], card: bool) -> int:
    """-1 lets llama.cpp choose, 0 is off and 1 on. On a processor off is twice as fast, but a
    quantized cache needs it."""
    wish, kind = options.get("flash_attn", "auto"), options.get("cache_type", "f16")
    if kind not in WHOLE and wish == "off":
        raise Refused(
            f"The cache type {kind} needs flash attention. Let flash_attn be auto, or take f16."
        )
    if wish == "auto":
        return 1 if kind not in WHOLE else -1 if card else 0
    return int(wish == "on")


def together(options: Mapping[str, Any]) -> int:
    """How many replies the ready-made engine writes at once."""
    return options.get("parallel", 0) or TOGETHER


def tokens_at_once(file: Gguf, options: Mapping[str, Any], *, card: bool) -> int:
    """How many tokens it reads in one step: fewer of prompts than the options say where that takes
    seconds, but one of every reply, as llama.cpp asserts."""
    wanted = options.get("batch_size", 512)
    read = wanted if card or file.size < SMALL else min(wanted, AT_ONCE)
    return max(read, together(options))


def rope(options: Mapping[str, Any], file: Gguf | None = None) -> tuple[float, float]:
    """The base of the rotary embedding and the scale of its positions; 0 is the file's own."""
    base, alpha = options.get("rope_freq_base", 0.0), options.get("alpha_value", 1.0)
    if not base and alpha > 1:
        own = float(file.of_arch("rope.freq_base", 0)) if file else 0.0
        base = (own or 10_000.0) * alpha**NTK
    divisor = options.get("compress_pos_emb", 1.0)
    return base, 0.0 if divisor == 1 else 1 / divisor


def pooling(file: Gguf) -> str:
    """How the file wants one vector made of those of its tokens; the mean where it is silent."""
    wanted = file.of_arch("pooling_type", POOLING["mean"])
    names = {number: name for name, number in POOLING.items() if name in ("mean", "cls", "last")}
    return names.get(wanted, "mean")


def stretch(options: Mapping[str, Any]) -> float:
    """How many times the trained context a conversation may have."""
    alpha, divisor = options.get("alpha_value", 1.0), options.get("compress_pos_emb", 1.0)
    return max(1.0, alpha, divisor, 32.0 if options.get("rope_freq_base") else 1.0)


def shares(options: Mapping[str, Any]) -> list[float]:
    """How the model is divided among several cards; empty: by their memory."""
    text = options.get("tensor_split", "")
    found = [float(part) for part in text.split(",")] if text else []
    if found and not sum(found):
        raise Refused("The shares of tensor_split add up to nothing. Give one card some.")
    return found


def loras(options: Mapping[str, Any], model: str, file: Gguf) -> tuple[tuple[str, float], ...]:
    """The LoRA adapters to begin with, as absolute paths with weights; raises Refused."""
    found: list[tuple[str, float]] = []
    for line in options.get("lora", ()):
        name, weight = weighted(line)
        path = beside(name, model)
        check_gguf_adapter(path, file)
        found.append((path, weight))
    return tuple(found)


def weighted(line: str) -> tuple[str, float]:
    """An adapter and its weight, of `style.gguf = 0.5`; a name alone has the weight 1."""
    name, equals, weight = line.rpartition("=")
    try:
        return (name.strip(), float(weight)) if equals else (line.strip(), 1.0)
    except ValueError:
        return line.strip(), 1.0


def projector(options: Mapping[str, Any], model: str) -> str:
    """The mmproj file as an absolute path, or nothing; raises Refused."""
    if not (name := options.get("mmproj")):
        return ""
    path = beside(name, model)
    check_gguf_projector(path)
    return path


def beside(name: str, model: str) -> str:
    """A file that an option names, alone or beside the model; raises Refused."""
    for path in (Path(name).expanduser(), Path(model).parent / name):
        if path.is_file():
            return str(path.resolve())
    raise Refused(f"There is no file {name}. Give its whole path, or put it beside the model.")


def reach(server: str) -> None:
    """Refuse what does not answer: llama.cpp would abort."""
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Refused(f"{server[:80]!r} is no address of an RPC server. Write host:port.")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise Refused(f"No RPC server answers at {server} ({error}). Start it there.") from error


def overrides(lines: Sequence[str]) -> dict[str, bool | int | float | str]:
    """`key=type:value` as llama.cpp writes it; raises Refused."""
    found: dict[str, bool | int | float | str] = {}
    for line in lines:
        key, _, rest = line.partition("=")
        kind, _, text = rest.partition(":")
        try:
            found[key.strip()] = _value(kind.strip(), text.strip())
        except (ValueError, KeyError):
            raise Refused(
                f"{line[:80]!r} is no override. Write KEY=TYPE:VALUE, with int, float, bool or "
                "str for TYPE."
            ) from None
    if len(found) > 64 or "" in found:
        raise Refused("An override needs a key, and there can be 64 of them.")
    return found


def _value(kind: str, text: str) -> bool | int | float | str:
    if kind == "int":
        number = int(text)
        if not -(2**63) <= number < 2**63:
            raise ValueError(text)
        return number
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    return {"float": float, "str": str}[kind](text)
