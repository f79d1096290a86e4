"""The two forms in which PyTorch keeps weights: an archive, and the one before it."""

import stat
import zipfile
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from extensions.converter.outline import BYTES, LONGEST_NAME, Storage, Tensor, Unfit, read, shown
from kernel.contract import Struct

LARGEST_PICKLE = 32 << 20
"""Bytes; a model of a hundred thousand tensors has 25 MB."""
MOST_MEMBERS = 200_000
MOST_TENSORS = 100_000
OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"
"""How each file of the old form begins: a pickled number."""
VERSION = 1001
BESIDE = {
    "byteorder", "version", ".format_version", ".storage_alignment", ".data/serialization_id",
}  # fmt: skip
"""What PyTorch keeps in an archive beside the weights."""
WRAPPED = ("state_dict", "model_state_dict", "model", "module")
"""Where programs for training keep the weights, beside other things."""
Tick = Callable[[], None]


class Contents(Struct, frozen=True):
    """What is in a file: tensors by name, those names in the table `within` of it, and what else
    is there and is no weight."""

    tensors: dict[str, Tensor]
    within: str
    left_out: tuple[str, ...]
    old: bool


def look(path: Path, tick: Tick = lambda: None) -> Contents:
    """Read what a file says is in it; raises Unfit."""
    with path.open("rb") as file:
        start = file.read(512)
        file.seek(0)
        if start.startswith(b"PK\x03\x04"):
            return contents(*archive(file, tick), old=False)
        if start.startswith(OLD):
            return contents(*old(file, path.stat().st_size, tick), old=True)
    if start[257:262] == b"ustar":
        raise Unfit("it has a form of before 2017, in which PyTorch itself would run programs")
    if start[:1] == b"\x80":
        raise Unfit("it is a pickle that PyTorch did not make, which may run anything")
    raise Unfit("it is no file of PyTorch")


# --- the archive ------------------------------------------------------------------------


def archive(file: BinaryIO, tick: Tick) -> tuple[Any, dict[str, int]]:
    """What the archive's pickle describes, and the sizes of its storages."""
    try:
        with zipfile.ZipFile(file) as opened:
            members = opened.infolist()
            check_members(members, opened.start_dir)
            root, _, _ = members[0].filename.partition("/")
            inner = {each.filename.removeprefix(f"{root}/"): each for each in members}
            sizes = check_names(root, inner)
            if "byteorder" in inner and opened.read(inner["byteorder"]) != b"little":
                raise Unfit("it was made on a machine that writes numbers the other way round")
            data = opened.read(inner["data.pkl"])
    except (Unfit, MemoryError):
        raise
    except Exception as error:  # The library for archives has a hundred ways to fail over one.
        raise Unfit("the archive is cut off or damaged") from error
    return read(BytesIO(data), tick), sizes


def check_members(members: list[zipfile.ZipInfo], end: int) -> None:
    """Nothing is packed, linked, locked or there twice, and all of it lies in the file."""
    if not 0 < len(members) <= MOST_MEMBERS:
        raise Unfit("the archive has no members, or far too many")
    if len({each.filename for each in members}) != len(members):
        raise Unfit("two members of the archive have one name")
    spans: list[tuple[int, int]] = []
    for each in members:
        if each.compress_type != zipfile.ZIP_STORED or each.compress_size != each.file_size:
            raise Unfit("its archive is compressed, which PyTorch's never are")
        if each.flag_bits & 1 or stat.S_ISLNK(each.external_attr >> 16):
            raise Unfit("its archive has locked members or links, which PyTorch's never have")
        begin = each.header_offset
        spans.append((begin, begin + 30 + len(each.orig_filename) + each.file_size))
    spans = [(0, 0), *sorted(spans), (end, end)]
    if any(stop > begin for (_, stop), (begin, _) in pairwise(spans)):
        raise Unfit("members of the archive overlap, or lie outside of it")


def check_names(root: str, inner: dict[str, zipfile.ZipInfo]) -> dict[str, int]:
    """Nothing but PyTorch's own is in the archive; the sizes of the storages by their keys."""
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise Unfit("it is a program (TorchScript), not only weights")
    if root in ("", ".", "..") or not root.isprintable() or "\\" in root:
        raise Unfit(f"its archive has a folder that leads elsewhere ({shown(root)})")
    sizes: dict[str, int] = {}
    for name, each in inner.items():
        key = name.removeprefix("data/")
        if key != name and key.isascii() and key.isdigit():
            sizes[key] = each.file_size
        elif name not in BESIDE and name != "data.pkl":
            raise Unfit(f"it holds what is no part of weights ({shown(each.filename)})")
    if "data.pkl" not in inner:
        raise Unfit("it is an archive, but none of PyTorch's")
    if inner["data.pkl"].file_size > LARGEST_PICKLE:
        raise Unfit("it describes more than any model has")
    if any(inner[name].file_size > 100 for name in BESIDE & inner.keys()):
        raise Unfit("it holds what is no part of weights")
    return sizes


# --- the form of before 2020 ------------------------------------------------------------


def old(file: BinaryIO, size: int, tick: Tick) -> tuple[Any, dict[str, int]]:
    """What the fourth of its five pickles describes, and the sizes of the storages after them."""
    start = BytesIO(file.read(LARGEST_PICKLE))
    _, version, system, made, keys = (read(start, tick) for _ in range(5))
    if version != VERSION or not isinstance(system, dict) or not isinstance(keys, list):
        raise Unfit("it says of itself what no file of weights does")
    if system.get("little_endian") is not True:
        raise Unfit("it was made on a machine that writes numbers the other way round")
    used = {each.key: each for each in storages(made)}
    if not all(isinstance(key, str) and key in used for key in keys) or len({*keys}) != len(keys):
        raise Unfit("it lists storages that no tensor is in")
    sizes: dict[str, int] = {}
    at = start.tell()
    for key in keys:
        file.seek(at)
        count = int.from_bytes(file.read(8), "little")
        sizes[key] = count * (BYTES[used[key].kind] if used[key].kind else 1)
        at += 8 + sizes[key]
        if at > size:
            raise Unfit("it is cut off")
    return made, sizes


def storages(made: Any) -> list[Storage]:
    """The storages of all tensors, wherever these are."""
    found: list[Storage] = []
    level, seen = [made], set[int]()
    while level:
        each = level.pop()
        if isinstance(each, Tensor):
            found.append(each.storage)
        elif isinstance(each, dict | list | tuple) and id(each) not in seen:
            seen.add(id(each))
            level += each.values() if isinstance(each, dict) else each
    return found


# --- both -------------------------------------------------------------------------------


def contents(made: Any, sizes: dict[str, int], old: bool) -> Contents:
    """The weights among what a file describes; every byte that they claim is there."""
    within, table = "", made
    if isinstance(made, dict) and not tensors_of(made):
        within = next((name for name in WRAPPED if isinstance(made.get(name), dict)), "")
        table = made.get(within)
    if not isinstance(table, dict) or not (found := tensors_of(table)):
        raise Unfit("there is no table of weights in it")
    if len(found) > MOST_TENSORS or any(len(name) > LONGEST_NAME for name in found):
        raise Unfit("it describes more than any model has")
    if "__metadata__" in found:
        raise Unfit("one of its tensors has a name that safetensors keeps for itself")
    for each in storages(made):
        if sizes.get(each.key) != each.size:
            raise Unfit("a part of its weights is missing, or not as large as it says")
    left = [name for name in table if name not in found]
    left += [name for name in made if name != within] if within else []
    if any(isinstance(table[name], dict | list | tuple) for name in left if name in table):
        raise Unfit("its weights lie in tables within tables, which no model here has")
    return Contents(found, within, tuple(shown(str(name)) for name in left[:20]), old)


def tensors_of(table: dict[Any, Any]) -> dict[str, Tensor]:
    return {
        name: each
        for name, each in table.items()
        if isinstance(name, str) and isinstance(each, Tensor)
    }
