"""Files as PyTorch writes them, and as nobody should, put together by hand without PyTorch."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"
SIZES = {"Float": 4, "Half": 2, "Double": 8, "Byte": 1}


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if 0 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(10, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def called(module: str, attribute: str, *arguments: bytes) -> bytes:
    """What a call takes: the name, a tuple, and the instruction that runs it."""
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


def strides_of(shape: Sequence[int]) -> list[int]:
    return [prod(shape[n + 1 :]) for n in range(len(shape))]


def tensor(
    key: str,
    shape: Sequence[int],
    *,
    count: int | None = None,
    offset: int = 0,
    strides: Sequence[int] | None = None,
    kind: str = "Float",
    more: bytes = b"",
) -> bytes:
    count = prod(shape) if count is None else count
    storage = b"(" + text("storage") + name("torch", f"{kind}Storage") + text(key)
    storage += text("cpu") + number(count) + more + b"tQ"
    parts = [storage, number(offset), numbers(shape)]
    parts += [numbers(strides_of(shape) if strides is None else strides), b"\x89"]
    return called(
        "torch._utils", "_rebuild_tensor_v2", *parts, called("collections", "OrderedDict")
    )


def table(values: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def archive(
    path: Path,
    value: bytes,
    storages: Mapping[str, bytes],
    more: Mapping[str, bytes] = {},
    *,
    root: str = "archive",
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A file of the form that PyTorch writes today."""
    members = {"data.pkl": pickled(value), "version": b"3\n", "byteorder": b"little"}
    members |= {f"data/{key}": data for key, data in storages.items()}
    with zipfile.ZipFile(path, "w", compression) as file:
        for member, data in members.items():
            file.writestr(f"{root}/{member}", data)
        for member, data in more.items():
            file.writestr(member, data)
    return path


def old(path: Path, value: bytes, storages: Mapping[str, tuple[int, bytes]]) -> Path:
    """A file of the form before that: five pickles, and the storages with their counts."""
    system = table({"protocol_version": number(1001), "little_endian": b"\x88"})
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    data = OLD + b"".join(map(pickled, (number(1001), system, value, keys)))
    for count, raw in storages.values():
        data += struct.pack("<q", count) + raw
    path.write_bytes(data)
    return path


def plain(path: Path, *, old_form: bool = False) -> Path:
    """Two small tensors of zeros, `a` (2 x 3) and `b` (4)."""
    if old_form:
        a, b = tensor("7", (2, 3), more=b"N"), tensor("8", (4,), more=b"N")
        value = table({"a": a, "b": b})
        return old(path, value, {"7": (6, bytes(24)), "8": (4, bytes(16))})
    value = table({"a": tensor("0", (2, 3)), "b": tensor("1", (4,))})
    return archive(path, value, {"0": bytes(24), "1": bytes(16)})


def running(canary: Path) -> bytes:
    """What makes a file when it is run: os.system, as in every example of an attack."""
    return called("posix", "system", text(f"touch {canary}"))
