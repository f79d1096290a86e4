"""POST /api/show: what is known of a model, loaded or not."""

import json as plain_json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import structs
from starlette.responses import Response

from extensions.api_kit.api import Call, json, missing, refused
from extensions.engine_kit.api import PAIRS, check_gguf
from kernel.api import UNSET, Extension, ModelInfo, Refused

from .keeping import UNKNOWN, plain
from .listing import Details, Listed, Listing, changed, details
from .messages import Str

CAN = {"embeddings": "embedding", "images": "vision"}


class Show(msgspec.Struct, kw_only=True):
    """The body."""

    model: Str = None
    name: Str = None
    """What `model` was called once."""


class Shown(msgspec.Struct, kw_only=True):
    """The answer."""

    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class Header(NamedTuple):
    """What a model's file says."""

    family: str = ""
    weights: int = 0
    facts: Mapping[str, Any] = {}
    template: str = ""
    vectors: bool = False
    """Whether it is one for vectors."""


class Showing:
    """The address."""

    def __init__(self, ext: Extension[Any], listing: Listing) -> None:
        self._ext, self._listing = ext, listing

    async def show(self, call: Call) -> Response:
        body = call.read(Show)
        name = body.model or body.name
        if not name:
            raise refused("model: There is none. Name one.", "model", "invalid_value")
        model = await self._listing.one(plain(name))
        if not model:
            raise missing(UNKNOWN.format(name), "model", "model_not_found")
        header, modified = await self._ext.thread(lambda: (read(model.path), changed(model.path)))
        return json(shown(model, header, modified))


def shown(model: Listed, header: Header, modified: str) -> Shown:
    info, family = model.info, header.family or "unknown"
    template = info.chat_template if info else header.template
    facts: dict[str, Any] = {"general.architecture": family}
    facts |= {f"{family}.{name}": value for name, value in header.facts.items()}
    if header.weights:
        facts["general.parameter_count"] = header.weights
    if info and info.context_length:  # What it was loaded with is what can be used of it.
        facts[f"{family}.context_length"] = info.context_length
    known = details(model)
    if header.family:
        known = structs.replace(known, family=family, families=[family])
    if header.weights:
        known = structs.replace(known, parameter_size=people(header.weights))
    return Shown(
        modelfile=f"FROM {model.name}\n",
        parameters=parameters(info) if info else "",
        template=template,
        details=known,
        model_info=facts,
        capabilities=capabilities(info, template, header),
        modified_at=modified,
    )


def capabilities(info: ModelInfo | None, template: str, header: Header) -> list[str]:
    """By Ollama's words."""
    if header.vectors or (info and info.slot == "embedding"):
        return ["embedding"]
    found = ["completion"]
    if "tools" in template and (not info or "tools" in info.capabilities):
        found.append("tools")
    if "enable_thinking" in template or any(tag in template for tag in PAIRS):
        found.append("thinking")
    if info and "images" in info.capabilities:
        found.append("vision")
    return found


def parameters(info: ModelInfo) -> str:
    """What holds where a request says nothing, a line each."""
    said = {"num_ctx": info.context_length}
    for name in ("temperature", "top_k", "top_p", "min_p"):
        if (value := getattr(info.defaults, name)) is not UNSET:
            said[name] = value
    return "\n".join(f"{name:<30} {value}" for name, value in said.items())


def read(path: Path) -> Header:
    """The header of a model's file, or the configuration in its folder; blocking."""
    try:
        return of_gguf(path) if path.suffix == ".gguf" else of_folder(path)
    except (OSError, Refused, ValueError, RecursionError):  # It can be listed all the same.
        return Header()


def of_gguf(path: Path) -> Header:
    file = check_gguf(path)
    names = ("context_length", "embedding_length", "block_count")
    facts = {name: value for name in names if (value := file.of_arch(name))}
    weights = sum(product(tensor.shape) for tensor in file.tensors.values())
    template = file.metadata.get("tokenizer.chat_template", "")
    vectors = bool(file.of_arch("pooling_type"))
    return Header(str(file.metadata["general.architecture"]), weights, facts, template, vectors)


def of_folder(path: Path) -> Header:
    said = plain_json.loads((path / "config.json").read_text("utf-8"))  # NaN and Infinity, too
    if not isinstance(said, dict):
        raise ValueError("it is no object")
    length, width = said.get("max_position_embeddings"), said.get("hidden_size")
    facts = {"context_length": length, "embedding_length": width}
    known = {name: value for name, value in facts.items() if isinstance(value, int)}
    family = str(said.get("model_type", "")).encode(errors="replace").decode()
    return Header(family, facts=known)


def product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def people(number: int) -> str:
    """A count as people read it: 7.6B, 494.0M, 260.0K."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)
