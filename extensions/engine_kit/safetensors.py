"""Checks a safetensors file, or a folder of them, before an engine maps it."""

import math
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from kernel.contract import Refused, built

CONVERT = (
    "Convert it to safetensors first: on the page Models, or by python server.py convert PATH."
)
"""What to do about weights that could run programs."""
LARGEST_HEADER = 100_000_000
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "I64": 64,
    "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
}  # fmt: skip

Natural = Annotated[int, Meta(ge=0)]


@built
class Entry(msgspec.Struct, frozen=True):
    """One tensor's line in the header."""

    dtype: str
    shape: Annotated[list[Natural], Meta(max_length=16)]
    data_offsets: tuple[Natural, Natural]


def check_safetensors(path: str | Path) -> dict[str, Entry]:
    """The tensors of a file; raises Refused with what is wrong with it."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or length > min(LARGEST_HEADER, size - 8):
                raise ValueError(f"its header claims {length:,} bytes, the file has {size:,}")
            raw = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
        msgspec.json.decode(raw.pop("__metadata__", b"{}"), type=dict[str, str])
        entries = {name: msgspec.json.decode(each, type=Entry) for name, each in raw.items()}
        check_spans(entries, size - 8 - length)
    except OSError as error:
        raise Refused(f"{path.name} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path.name} cannot be loaded: {error}. Download it again.") from error
    return entries


def check_spans(entries: dict[str, Entry], size: int) -> None:
    """Every byte of the data belongs to exactly one tensor of the right size."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda each: each[1].data_offsets):
        if entry.dtype not in BITS:
            raise ValueError(f"the tensor {name[:80]} is of the unknown type {entry.dtype[:20]}")
        begin, stop = entry.data_offsets
        if begin != end:
            raise ValueError(f"the tensor {name[:80]} does not begin where the one before it ends")
        if (stop - begin) * 8 != math.prod(entry.shape) * BITS[entry.dtype]:
            raise ValueError(f"the tensor {name[:80]} is not as large as its shape says")
        end = stop
    if end != size:
        raise ValueError(f"its tensors need {end:,} bytes of data and it has {size:,}")


@built
class Index(msgspec.Struct, frozen=True):
    """model.safetensors.index.json."""

    weight_map: dict[str, str]


def check_folder(folder: str | Path) -> dict[str, Entry]:
    """All tensors of a model's folder; raises Refused, also when there are only pickles."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise Refused(f"{folder.name} has no config.json, so it is no folder of a model.")
    entries: dict[str, Entry] = {}
    for name in shards(folder):
        entries |= check_safetensors(folder / name)
    return entries


def shards(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    if index.is_file():
        try:
            names = set(msgspec.json.decode(index.read_bytes(), type=Index).weight_map.values())
        except (ValueError, RecursionError) as error:
            raise Refused(f"{index.name} is damaged: {error}. Download it again.") from error
        for name in sorted(names):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise Refused(f"{index.name} names a file outside the folder: {name[:80]}.")
            if not (folder / name).is_file():
                raise Refused(f"{name} is missing in {folder.name}. Download it again.")
        return sorted(names)
    endings = (".bin", ".pt", ".pth", ".ckpt")
    pickles = sorted(each for each in folder.iterdir() if each.suffix.lower() in endings)
    if pickles:
        raise Refused(
            f"{folder.name} has its weights only in {pickles[0].name}, a format that can run "
            f"programs. {CONVERT}"
        )
    raise Refused(f"{folder.name} has no model.safetensors. Download the model again.")
