"""Checks a GGUF file before native code sees it: hostile numbers abort whole processes."""

import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from extensions.engine_kit.gguf_rules import check_architecture, check_vocabulary
from kernel.contract import Refused

SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
STRING, ARRAY = 8, 9
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4),
    27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
    39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip
"""ggml's types: weights in a block, and its bytes."""
MOST = 2_000_000
"""Tensors, keys, tokens: no real model comes near."""
MOST_NUMBERS = 8_000_000
"""In one list; the longest known is a table of a tokenizer, of 500,000."""
MOST_PARTS = 999
LARGEST_HEADER = 512 << 20
"""Bytes before the weights; a vocabulary of 260,000 tokens takes 12 MB."""


ANOTHER = "Look for another GGUF file of the model."
"""What helps where a file is whole, and was made so that nothing reads it."""


class Unknown(ValueError):
    """It is of a version that nothing here reads; `helps` is a sentence."""

    def __init__(self, version: int) -> None:
        super().__init__(f"it is of GGUF version {version}; 2 and 3 are known")
        newer = 3 < version < 1000  # Else it is of 2023, or of no version at all.
        self.helps = f"Update Spindle, or l{ANOTHER[1:]}" if newer else ANOTHER


class Tensor(NamedTuple):
    """What the header says of one tensor; `bytes` is what it takes in the file."""

    shape: tuple[int, ...]
    kind: int
    bytes: int


class Gguf(NamedTuple):
    """What the header says, of all parts where there are several."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]
    size: int
    kinds: Mapping[str, int] = {}
    """GGUF's types of the metadata: engines ask for one, and some abort where it is another."""

    def of_arch(self, key: str, default: Any = 0) -> Any:
        return self.metadata.get(f"{self.metadata.get('general.architecture')}.{key}", default)

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors.values())


def check_gguf(path: str | Path, file: Gguf | None = None) -> Gguf:
    """Read the header (or go on with the one given), and those of the other parts.

    Raises Refused with what is wrong, and with which of the files.
    """
    name = Path(path).name
    file = file or read_header(path)
    if (parts := file.metadata.get("split.count", 1)) != 1:
        file = whole(Path(path), file, parts)
    try:
        check_architecture(file.metadata, file.tensors)
        check_vocabulary(file.metadata, file.tensors)
    except ValueError as error:
        raise Refused(f"{name} cannot be loaded: {error}. {ANOTHER}") from error
    return file


def read_header(path: str | Path) -> Gguf:
    """What one file says, each number checked against the file; raises Refused."""
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            if file.seek(0, 2) < 24:
                raise ValueError("it is too short to be a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return Reader(data).header()
    except OSError as error:
        raise Refused(f"{name} cannot be read ({error.strerror}).") from error
    except Unknown as error:
        raise Refused(f"{name} cannot be loaded: {error}. {error.helps}") from error
    except UnicodeDecodeError as error:
        said = f"{name} cannot be loaded: a name in it is no UTF-8. Download it again."
        raise Refused(said) from error
    except ValueError as error:
        raise Refused(f"{name} cannot be loaded: {error}. Download it again.") from error


def whole(path: Path, first: Gguf, count: Any) -> Gguf:
    """A file that lies in several: the parts are those that llama.cpp's names say."""
    number = first.metadata.get("split.no")
    if not isinstance(count, int) or not isinstance(number, int) or not 2 <= count <= MOST_PARTS:
        said = f"{path.name} says that it is part {number} of {count}"
        raise Refused(f"{said[:200]}, which cannot be. Download it again.")
    ending = f"-{number + 1:05}-of-{count:05}.gguf"
    if not path.name.endswith(ending):
        raise Refused(
            f"{path.name} is part of a model in {count} files, and was renamed. Its name must "
            f"end in {ending}, and those of the others in the same way."
        )
    paths = [
        path.with_name(f"{path.name.removesuffix(ending)}-{part:05}-of-{count:05}.gguf")
        for part in range(1, count + 1)
    ]
    if number:
        raise Refused(f"{path.name} is part {number + 1} of {count}. Load {paths[0].name}.")
    if missing := [part.name for part in paths if not part.is_file()]:
        raise Refused(
            f"{path.name} is the first of {count} files, and {len(missing)} of them "
            f"{'is' if len(missing) == 1 else 'are'} missing: {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}. Download them into the same folder."
        )
    tensors, size = dict(first.tensors), first.size
    for expected, part in enumerate(paths[1:], 1):
        file = read_header(part)
        said = file.metadata.get("split.no"), file.metadata.get("split.count")
        if said != (expected, count):
            raise Refused(f"{part.name} belongs to another model. Download it again.")
        if twice := tensors.keys() & file.tensors.keys():
            raise Refused(f"{part.name} repeats {min(twice)}. Download the parts again.")
        tensors.update(file.tensors)
        size += file.size
    if (claimed := first.metadata.get("split.tensors.count")) != len(tensors):
        raise Refused(
            f"The {count} parts of {path.name} have {len(tensors):,} tensors together instead of "
            f"{claimed}: they are not of one model. Download them again."
        )
    return Gguf(first.metadata, tensors, size, first.kinds)


class Reader:
    """A cursor over the file; every number is checked before it is believed."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.size = data, 0, len(data)
        self.end = min(self.size, LARGEST_HEADER)

    def number(self, code: str) -> Any:
        length = struct.calcsize(code)
        (value,) = struct.unpack_from("<" + code, self.data, self.skip(length))
        return value

    def skip(self, length: int) -> int:
        at, self.at = self.at, self.at + length
        if self.at > self.end:
            raise ValueError(f"its header ends at byte {self.end:,}, in the middle of something")
        return at

    def string(self) -> bytes:
        length = self.number("Q")
        at = self.skip(length)
        return self.data[at : at + length]

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.number(scalar(kind))
        kind, count = self.number("I"), self.number("Q")
        if kind == ARRAY:
            raise ValueError("it holds lists within lists, which no engine reads")
        if kind == STRING:
            if count > min(MOST, self.size // 8):
                raise ValueError(f"a list claims {count:,} texts, more than a file can have")
            return self.strings(count)
        code = scalar(kind)
        if count > MOST_NUMBERS:
            raise ValueError(f"a list claims {count:,} numbers, more than any model has")
        at = self.skip(count * struct.calcsize(code))
        return struct.unpack_from(f"<{count}{code}", self.data, at)

    def strings(self, count: int) -> list[bytes]:
        """The hot loop: a vocabulary has hundreds of thousands of these."""
        data, at, end, texts = self.data, self.at, self.end, []
        length_of = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > end:
                raise ValueError("a list of texts runs past the end of the file")
            begin = at + 8
            at = begin + length_of(data, at)[0]
            texts.append(data[begin:at])
        self.at = at
        self.skip(0)
        return texts

    def header(self) -> Gguf:
        if self.data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self.at = 4
        if (version := self.number("I")) not in (2, 3):
            raise Unknown(version)
        tensor_count, key_count = self.number("Q"), self.number("Q")
        if max(tensor_count, key_count) > MOST:
            raise ValueError(f"it claims {tensor_count:,} tensors and {key_count:,} keys")
        metadata: dict[str, Any] = {}
        kinds: dict[str, int] = {}
        for _ in range(key_count):
            key = self.string().decode()
            if not 0 < len(key) < 65_536:
                raise ValueError("the name of a key is empty or unreasonably long")
            if key in metadata:
                raise ValueError(f"the key {key[:80]} is there twice")
            kinds[key] = self.number("I")
            value = self.value(kinds[key])
            metadata[key] = value.decode() if isinstance(value, bytes) else value
        tensors = self.tensors(tensor_count, metadata.get("general.alignment", 32))
        return Gguf(metadata, tensors, self.size, kinds)

    def tensors(self, count: int, alignment: Any) -> dict[str, Tensor]:
        if not isinstance(alignment, int) or not 8 <= alignment <= 2**20 or alignment % 8:
            raise ValueError(f"its alignment is {alignment}")
        found: dict[str, Tensor] = {}
        spans: list[tuple[int, int, str]] = []
        for _ in range(count):
            name = self.string().decode()
            if not 0 < len(name) < 64 or name in found:
                raise ValueError(f"the name of a tensor, {name[:80]!r}, is too long or there twice")
            dimensions = self.number("I")
            if not 1 <= dimensions <= 4:
                raise ValueError(f"the tensor {name} has {dimensions:,} dimensions")
            shape = tuple(self.number("Q") for _ in range(dimensions))
            kind, offset = self.number("I"), self.number("Q")
            if kind not in BLOCKS:
                raise ValueError(f"the tensor {name} is of the unknown type {kind}")
            per_block, block_size = BLOCKS[kind]
            if not all(shape) or math.prod(shape) >= 2**62 or shape[0] % per_block:
                raise ValueError(f"the tensor {name} has the impossible shape {shape}")
            if offset % alignment:
                raise ValueError(f"the tensor {name} begins between two aligned places")
            length = math.prod(shape) // per_block * block_size
            found[name] = Tensor(shape, kind, length)
            spans.append((offset, length, name))
        begin = -(-self.at // alignment) * alignment
        end = 0
        for offset, length, name in sorted(spans):
            if offset < end:
                raise ValueError(f"the tensor {name} lies on top of another one")
            end = offset + length
            if begin + end > self.size:
                missing = begin + end - self.size
                raise ValueError(f"the tensor {name} ends {missing:,} bytes after the file does")
        return found


def scalar(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"it holds a value of the unknown type {kind}")
    return SCALARS[kind]
