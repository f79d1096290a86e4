"""GET /api/tags and /api/ps: the models there are, and those that are loaded."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, json
from extensions.models.api import Models, shown
from kernel.api import Extension, ModelInfo

SLOTS = ("chat", "embedding")
NEVER = "2300-01-01T00:00:00Z"
"""When a model is unloaded by itself."""
QUANTS = re.compile(r"(?<![A-Za-z0-9])((?:I?Q\d|TQ\d|BF16|F16|F32|MXFP4|NVFP4)\w*)", re.IGNORECASE)
SIZES = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?[BMK])(?![A-Za-z0-9])", re.IGNORECASE)


class Details(msgspec.Struct, kw_only=True):
    """What is known of a model; in a list, what its name says."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] | None = None
    parameter_size: str = ""
    quantization_level: str = ""


class Tag(msgspec.Struct, kw_only=True):
    """A model."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class Tags(msgspec.Struct):
    """All of them."""

    models: Sequence[Tag]


class Process(msgspec.Struct, kw_only=True):
    """A model that is loaded."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str = NEVER
    size_vram: int = 0
    context_length: int


class Processes(msgspec.Struct):
    """All of them."""

    models: Sequence[Process]


class Listed(msgspec.Struct, kw_only=True):
    """A model by the name that programs know it by."""

    name: str
    path: Path
    size: int
    info: ModelInfo | None = None
    """Of a loaded one."""


class Listing:
    """What is listed, by the names that /v1/models gives."""

    def __init__(self, ext: Extension[Any], models: Models) -> None:
        self._ext, self._models = ext, models

    async def tags(self, call: Call) -> Response:
        await self._models.look()
        listed = self.all()
        times = await self._ext.thread(lambda: [changed(each.path) for each in listed])
        return json(Tags([tag(each, time) for each, time in zip(listed, times, strict=True)]))

    async def running(self, call: Call) -> Response:
        return json(Processes([process(each) for each in self.loaded()]))

    def loaded(self) -> list[Listed]:
        """Those in slots."""
        models = [self._ext.slot(name).model for name in SLOTS]
        sizes = {str(file.path): file.size for file in self._models.files}
        return [
            Listed(
                name=self._models.called(each.info),
                path=Path(each.info.path),
                size=sizes.get(each.info.path, 0),
                info=each.info,
            )
            for each in models
            if each
        ]

    def all(self) -> list[Listed]:
        """The loaded one first."""
        found = [each for each in self.loaded() if each.info and each.info.slot == "chat"]
        paths = {str(each.path) for each in found}
        rest = sorted(self._models.names.items())
        return [
            *found,
            *(
                Listed(name=name, path=file.path, size=file.size)
                for name, file in rest
                if str(file.path) not in paths
            ),
        ]

    async def one(self, name: str) -> Listed | None:
        """A model by any of its names."""
        for each in (*self.loaded(), *self.all()):
            if each.name == name:
                return each
        if self._models.is_loaded(name):
            return self.loaded()[0]
        file = await self._models.find(name)
        return Listed(name=shown(file), path=file.path, size=file.size) if file else None


def tag(each: Listed, modified: str) -> Tag:
    return Tag(
        name=each.name,
        model=each.name,
        modified_at=modified,
        size=each.size,
        digest=digest(each),
        details=details(each),
    )


def process(each: Listed) -> Process:
    return Process(
        name=each.name,
        model=each.name,
        size=each.size,
        digest=digest(each),
        details=details(each),
        context_length=each.info.context_length if each.info else 0,
    )


def details(each: Listed) -> Details:
    """What its name says."""
    name = each.path.name
    quant, size = QUANTS.search(name), SIZES.search(name)
    return Details(
        format="gguf" if each.path.suffix == ".gguf" else "safetensors",
        parameter_size=size[1].upper() if size else "",
        quantization_level=quant[1].upper() if quant else "",
    )


def digest(each: Listed) -> str:
    """Of its name and size: reading gigabytes would take minutes."""
    return hashlib.sha256(f"{each.name}\0{each.size}".encode()).hexdigest()


def changed(path: Path) -> str:
    """When a file was written last; blocking."""
    try:
        seconds = path.stat().st_mtime
    except OSError:
        seconds = 0.0
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
