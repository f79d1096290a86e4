"""What a folder of weights says of itself, as Hugging Face lays them out."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from extensions.engine_kit.api import Entry, check_folder
from extensions.models import detection, gguf_facts, words
from extensions.models.cards import card_of
from extensions.models.described import Described
from extensions.models.detection import Look
from kernel.contract import Refused

LARGEST = 32 << 20
"""Bytes of a configuration that are read; tokenizer_config.json may hold a template."""
CONTEXT = (
    "max_position_embeddings",
    "model_max_length",
    "max_seq_len",
    "n_positions",
    "seq_length",
)
CONFIGS = ("config.json", "tokenizer_config.json")
"""Either may name programs that the model brings along."""
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
BESIDE = re.compile(
    r"(scales?|g_idx|zeros?|absmax|quant_map|quant_state.*|\w*_scale(_inv)?|s[uv]h?|mcg|mul1"
    r"|weight_shape|weight_zero_point|q_\w+|biases)$"
)
"""Tensors that say how others are packed, by the last word of their names."""


def of_folder(folder: Path) -> Described:
    """The facts of one; what is wrong with it is its `trouble`."""
    config = json(folder / "config.json")
    names = frozenset(each.name for each in folder.iterdir())
    look = Look(folder.resolve().name if folder.is_symlink() else folder.name, names, config)
    seen = told(folder, look)
    if seen.role != "model":
        return seen
    if look.only_gguf:
        plain = structs.replace(seen, form="GGUF")
        return of_gguf(folder / look.gguf, seen) if look.gguf and seen.loaders else plain
    if look.has(r".*\.engine"):
        return structs.replace(seen, form="engine")
    try:
        entries = check_folder(folder)
    except Refused as refusal:
        form = "pickle" if pickled(look) else seen.form
        return structs.replace(seen, form=form, trouble=str(refusal))
    return structs.replace(seen, form="safetensors", **weighed(entries, look))


def of_gguf(file: Path, seen: Described) -> Described:
    """A GGUF file with a tokenizer beside it: the file says what it is, and is what is loaded."""
    said = gguf_facts.of_gguf(file)
    loaders = seen.loaders if said.role == "model" else ()
    return structs.replace(said, loaders=loaders, template=seen.template or said.template)


def pickled(look: Look) -> bool:
    """Whether its weights are pickles alone."""
    return look.has(r".*\.(bin|pt|pth|ckpt)") and not look.has(r".*\.safetensors")


def told(folder: Path, look: Look) -> Described:
    """What its configuration says."""
    card, config = card_of(folder), look.config
    inner = config.get("text_config")
    both: dict[str, Any] = {**(inner if isinstance(inner, dict) else {}), **config}
    if "adapter_config.json" in look.files:
        return of_adapter(folder, look)
    if "model_index.json" in look.files:
        said = "It makes pictures (diffusers), and nothing that is switched on does that."
        return Described(role="pictures", licence=card.licence, trouble=said)
    architecture = words.line(config.get("architectures")) or words.line(config.get("model_type"))
    return Described(
        form="safetensors",
        title=words.line(config.get("_name_or_path")).rpartition("/")[2],
        architecture=architecture,
        context_length=first(both, CONTEXT, 2**31),
        layers=first(both, LAYERS, 10_000),
        template=words.template(template_of(folder)),
        licence=card.licence,
        base=card.base,
        programs=next((name for name in CONFIGS if b'"auto_map"' in data_of(folder / name)), ""),
        loaders=detection.of_folder(look),
        quantization=quantization(look),
    )


def of_adapter(folder: Path, look: Look) -> Described:
    """A LoRA in a folder."""
    said = json(folder / "adapter_config.json")
    base = words.line(said.get("base_model_name_or_path"))
    trouble = f"It is a LoRA adapter{f' for {base}' if base else ''}, no model. Move it to loras/."
    return Described(role="adapter", base=base, trouble=trouble)


def template_of(folder: Path) -> str:
    """Its chat template, wherever it lies."""
    try:
        with (folder / "chat_template.jinja").open("rb") as file:
            return file.read(LARGEST).decode(errors="replace")
    except OSError:
        pass
    for name in ("chat_template.json", "tokenizer_config.json"):
        said = json(folder / name).get("chat_template")
        if isinstance(said, list):
            named = [each for each in said if isinstance(each, dict)]
            chosen = [each for each in named if each.get("name") == "default"] or named
            said = chosen[0].get("template") if chosen else ""
        if isinstance(said, str) and said:
            return said
    return ""


def quantization(look: Look) -> str:
    """How its weights are stored: the method with its bits, or the type of plain numbers."""
    said = look.config.get("quantization_config")
    table: Mapping[str, Any] = said if isinstance(said, dict) else {}
    if look.method == "mlx":
        table = look.config["quantization"]
    name = words.METHODS.get(look.method, look.method[:20])
    if not name:
        found = detection.of_folder(look)
        plain = not found or found[0].loader == "transformers"
        name = "" if plain else found[0].why.partition(" with ")[2].rstrip(".")
    if not name:
        dtype = look.config.get("dtype", look.config.get("torch_dtype"))
        return words.DTYPES.get(dtype, words.line(dtype)[:20]) if isinstance(dtype, str) else ""
    bits = bits_of(table, look)
    return f"{name} {bits:g} bit" if bits else name


def bits_of(table: Mapping[str, Any], look: Look) -> float:
    for key in ("bits", "w_bit", "nbits"):
        value = table.get(key)
        if isinstance(value, int | float) and 0 < value <= 32:
            return value
    if look.method == "bitsandbytes":
        return 4 if table.get("load_in_4bit") or table.get("_load_in_4bit") else 8
    found = detection.WBITS.search(look.name)
    return int(found[1]) if found else 0


def weighed(entries: Mapping[str, Entry], look: Look) -> dict[str, Any]:
    """Parameters as they were before they were packed, and the type of most bytes."""
    bits, packed = bits_of_packed(look), look.method in ("exl2", "exl3", "aqlm", "quip", "vptq")
    count = 0 if packed else sum(parameters(name, each, bits) for name, each in entries.items())
    sizes: Counter[str] = Counter()
    for each in entries.values():
        sizes[each.dtype] += math.prod(each.shape)
    most = sizes.most_common(1)[0][0] if sizes else ""
    facts: dict[str, Any] = {"parameters": count or words.size_in_name(look.name)}
    if not look.method and not quantization(look):
        facts["quantization"] = words.STORED.get(most, most)
    return facts


def bits_of_packed(look: Look) -> float:
    said = look.config.get("quantization_config", look.config.get("quantization"))
    return bits_of(said if isinstance(said, dict) else {}, look) or 4


def parameters(name: str, entry: Entry, bits: float) -> int:
    """Of one tensor; what is packed counts as what it was."""
    last, count = name.rpartition(".")[2], math.prod(entry.shape)
    if BESIDE.search(last) and "weight_packed" not in last and last != "qweight":
        return 0
    if entry.dtype in ("I32", "U32") and last in ("qweight", "weight_packed", "weight"):
        return int(count * 32 / bits)
    if entry.dtype == "U8":
        return int(count * 8 / min(bits, 8))
    return 0 if last == "qzeros" else count


def first(config: Mapping[str, Any], keys: tuple[str, ...], most: int) -> int:
    return next((n for key in keys if (n := words.number(config.get(key), most))), 0)


def json(file: Path) -> dict[str, Any]:
    """A table; an empty one where there is none that can be read."""
    try:
        return msgspec.json.decode(data_of(file), type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}


def data_of(file: Path) -> bytes:
    """Its bytes; none where it cannot be read, or is larger than any configuration."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError:
        return b""
    return data if len(data) <= LARGEST else b""
