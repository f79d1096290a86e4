"""Checks a folder of PEFT, a LoRA adapter, against the model that it is to change."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from extensions.engine_kit.safetensors import CONVERT, Entry, check_safetensors
from kernel.contract import Refused, built

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLES = ("adapter_model.bin", "adapter_model.pt")
LARGEST_CONFIG = 1 << 20
PART = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<half>[AB])"
    r"(?:\.default)?(?(embedding)(?:\.weight)?|\.weight)"
)
NUMBERED = re.compile(r"[^.]+\.[0-9]+\..+")
FLOATS = ("F64", "F32", "F16", "BF16")
ENDLESS = re.compile(r"\)[*+?{]|([*+?{].*){4}", re.DOTALL)
"""A pattern that could be searched for ever: a repeated group, or many repetitions."""
Number = Annotated[float, Meta(ge=-1e6, le=1e6)]


@built
class Config(msgspec.Struct, frozen=True):
    """adapter_config.json, as far as it matters for a use."""

    peft_type: str = ""
    base_model_name_or_path: str | None = None
    r: Number = 8
    lora_alpha: Number = 8
    target_modules: list[str] | str | None = None
    alpha_pattern: dict[str, Number] | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    fan_in_fan_out: bool | None = None


class Factors(NamedTuple):
    """The shapes of what changes one module: down to the rank, and up again."""

    first: Sequence[int]
    second: Sequence[int]
    embedding: bool
    parts: tuple[str, str]
    """Their names in the file."""

    @property
    def rank(self) -> int:
        return self.first[0]


class Peft(NamedTuple):
    """What a folder says, without its numbers."""

    config: Config
    factors: Mapping[str, Factors]
    """By the module of the model that each changes."""

    def scale(self, module: str) -> float:
        """What the product of a module's factors is multiplied with."""
        alpha, rank = self.config.lora_alpha, self.factors[module].rank
        for pattern, value in (self.config.alpha_pattern or {}).items():
            if _said_of(pattern, module):
                alpha = value
        return alpha / (rank**0.5 if self.config.use_rslora else rank)


def read_peft(folder: str | Path) -> Peft:
    """The adapter in a folder; raises Refused for what is none, is damaged, or does more than
    change weights by products of low rank."""
    folder = Path(folder)
    config = read_config(folder)
    if config.peft_type.upper() != "LORA":
        kind = config.peft_type[:40] or "nothing"
        raise Refused(f"{folder.name} is no LoRA adapter (peft_type: {kind}). Choose another.")
    if any(len(key) > 300 or ENDLESS.search(key) for key in config.alpha_pattern or ()):
        raise Refused(f"{folder.name} has an alpha_pattern that nobody needs. Choose another.")
    if config.use_dora:
        raise Refused(f"{folder.name} is a DoRA adapter, which no engine here takes. Merge it.")
    if not (folder / WEIGHTS).is_file():
        for name in PICKLES:
            if (folder / name).is_file():
                raise Refused(
                    f"{folder.name} has its weights only in {name}, a format that can run "
                    f"programs. {CONVERT}"
                )
        raise Refused(f"{folder.name} has no {WEIGHTS}. Download the adapter again.")
    try:
        return Peft(config, _factors(check_safetensors(folder / WEIGHTS)))
    except ValueError as error:
        raise Refused(f"{folder.name} cannot be used: {error}. Choose another.") from error


def read_config(folder: Path) -> Config:
    """What its adapter_config.json says; raises Refused."""
    try:
        with (folder / CONFIG).open("rb") as file:
            raw = file.read(LARGEST_CONFIG + 1)
        if len(raw) > LARGEST_CONFIG:
            raise ValueError("it is far too large")
        return msgspec.json.decode(raw, type=Config)
    except OSError as error:
        raise Refused(f"{folder.name} has no {CONFIG} that can be read.") from error
    except (ValueError, RecursionError) as error:
        says = f"{CONFIG} of {folder.name} is damaged: {error}. Download the adapter again."
        raise Refused(says) from error


def check_peft_adapter(folder: str | Path, tensors: Mapping[str, Entry]) -> Peft:
    """The adapter in a folder, if it fits a model with these tensors; raises Refused."""
    folder = Path(folder)
    adapter = read_peft(folder)
    shapes = {_tail(name): entry.shape for name, entry in tensors.items()}
    if "embed_tokens.weight" in shapes:  # Where the head is the embedding, no file has it twice.
        shapes.setdefault("lm_head.weight", shapes["embed_tokens.weight"])
    turned = bool(adapter.config.fan_in_fan_out)
    for module, factors in sorted(adapter.factors.items()):
        if not (shape := shapes.get(_tail(f"{module}.weight"))):
            raise Refused(f"{folder.name} does not fit this model: it has no {module[:120]}.")
        if why := misfit(factors, shape, turned=turned):
            raise Refused(f"{folder.name} does not fit this model: {module[:120]} {why}.")
    return adapter


def misfit(factors: Factors, shape: Sequence[int], *, turned: bool = False) -> str:
    """What keeps the factors from changing a weight of this shape (out by in), or nothing."""
    if len(shape) != 2:
        return f"has the shape {list(shape)}, and is no table of two sides"
    out, within = reversed(shape) if turned or factors.embedding else shape
    wanted = [factors.second[0], factors.first[1]]
    if [out, within] != wanted:
        return f"is {within} by {out} there, and {wanted[1]} by {wanted[0]} in the adapter"
    return ""


# --- inside -----------------------------------------------------------------------------


def _factors(entries: Mapping[str, Entry]) -> dict[str, Factors]:
    """The pairs of a file; raises ValueError where it holds anything else."""
    halves: dict[str, dict[str, tuple[str, bool]]] = {}
    for name, entry in entries.items():
        if not (part := PART.fullmatch(name)):
            raise ValueError(
                f"it brings more than products of low rank ({name[:120]}), which no engine here "
                "takes"
            )
        if entry.dtype not in FLOATS or len(entry.shape) != 2 or not all(entry.shape):
            raise ValueError(f"{name[:120]} is no table of numbers")
        pair = halves.setdefault(part["module"], {})
        if part["half"] in pair:
            raise ValueError(f"{part['module'][:120]} is there twice")
        pair[part["half"]] = name, bool(part["embedding"])
    if not halves:
        raise ValueError("there is nothing in it")
    return {module: _pair(module, pair, entries) for module, pair in halves.items()}


def _pair(module: str, pair: Mapping[str, tuple[str, bool]], entries: Mapping[str, Entry]) -> Any:
    if len(pair) != 2 or pair["A"][1] != pair["B"][1]:
        raise ValueError(f"half of {module[:120]} is missing")
    (first, embedding), (second, _) = pair["A"], pair["B"]
    factors = Factors(entries[first].shape, entries[second].shape, embedding, (first, second))
    if factors.first[0] != factors.second[1]:
        raise ValueError(f"the two halves of {module[:120]} do not meet")
    return factors


def _said_of(pattern: str, module: str) -> bool:
    """Whether a key of a pattern means this module, as PEFT reads them."""
    try:
        return bool(re.fullmatch(rf"(.*\.)?({pattern})", module))
    except re.error:
        return module.endswith(f".{pattern}") or module == pattern


def _tail(name: str) -> str:
    """A weight's name from the number of its layer on: what is before differs between files and
    the library's own names; without a number its last two parts."""
    found = NUMBERED.search(name)
    return found.group() if found else ".".join(name.split(".")[-2:])
