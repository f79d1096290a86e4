"""Writes tensors into a safetensors file one after the other, and compares what was written."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch
from safetensors import safe_open

from extensions.converter.forms import Contents
from extensions.converter.limits import starved
from extensions.converter.outline import Tensor, Unfit
from extensions.engine_kit.api import check_safetensors

PIECE = 16 << 20
"""Bytes between two reports."""
MOST = 2.0
"""How much larger the new file may be than the old one, whose tensors may share their bytes."""
DTYPES = {
    "F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
Tell = Callable[[float], None]
"""Told the share that is done; raises what ends the work."""


def kept(contents: Contents, size: int, tied: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to be written, and the names that are left to the model to tie (with what).

    A name for what has another name already gets bytes of its own, as safetensors wants it. Where
    the model says that it ties its output to its input, that one is left out, as is usual.
    """
    tensors, gone = dict(contents.tensors), dict[str, str]()
    same = {name for name, each in tensors.items() if each == tensors.get("lm_head.weight")}
    if tied and len(same) > 1:
        gone["lm_head.weight"] = min(same - {"lm_head.weight"})
        del tensors["lm_head.weight"]
    if sum(each.size for each in tensors.values()) > size * MOST:
        raise Unfit("it says that its tensors share their bytes, more often than any model's do")
    return tensors, gone


def load(path: Path, contents: Contents, tick: Callable[[], None]) -> Mapping[str, torch.Tensor]:
    """The same tensors as PyTorch reads them; raises Unfit where it reads anything else."""
    source: Any = Heard(path, tick) if contents.old else str(path)
    try:
        made = torch.load(source, map_location="cpu", weights_only=True, mmap=not contents.old)
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError) as error:
        if starved(error):
            raise
        raise Unfit("PyTorch cannot read it: it is damaged") from error
    finally:
        if isinstance(source, Heard):
            source.close()
    table = made.get(contents.within, {}) if contents.within else made
    for name, said in contents.tensors.items():
        tensor = table.get(name)
        if (
            not isinstance(tensor, torch.Tensor)
            or tuple(tensor.shape) != said.shape
            or tensor.dtype != getattr(torch, DTYPES[said.kind])
            or tensor.layout != torch.strided
        ):
            raise Unfit("PyTorch reads something else in it than what stands there")
    return table


class Heard:
    """A file of the old form, whose reading is told; it is read whole."""

    def __init__(self, path: Path, tick: Callable[[], None]) -> None:
        self._file, self._tick = path.open("rb"), tick
        self.seek, self.tell, self.close = self._file.seek, self._file.tell, self._file.close
        self.readline = self._file.readline

    def read(self, size: int = -1) -> bytes:
        self._tick()
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        self._tick()
        return self._file.readinto(buffer)


def write(
    part: Path,
    said: Mapping[str, Tensor],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    tell: Tell,
) -> None:
    """Write a new file; one that is there is never written through, and a link not followed."""
    order = sorted(said, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        begin, end = end, end + said[name].size
        header[name] = {
            "dtype": said[name].kind, "shape": said[name].shape, "data_offsets": (begin, end)
        }  # fmt: skip
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    part.unlink(missing_ok=True)
    with part.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        done = 0
        for name in order:
            for piece in pieces(tensors[name]):
                file.write(piece)
                done += len(piece)
                tell(done / end)
        synced(file)


def synced(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def pieces(tensor: torch.Tensor) -> Iterator[memoryview]:
    data = memoryview(raw(tensor).numpy())
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]


def raw(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's bytes, in the order of its elements."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def compare(part: Path, tensors: Mapping[str, torch.Tensor], names: set[str], tell: Tell) -> None:
    """Read the new file as engines do; raises Unfit where a bit differs."""
    if check_safetensors(part).keys() != names:
        raise Unfit("what was written is not what was read; the disk may be failing")
    with safe_open(part, "pt") as file:
        for done, name in enumerate(sorted(names)):
            tell(done / len(names))
            if not torch.equal(raw(file.get_tensor(name)), raw(tensors[name])):
                raise Unfit("what was written is not what was read; the disk may be failing")
