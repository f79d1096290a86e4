"""Ways to spoil a GGUF file: one case a seed, the same one every time."""

import random
import struct
from pathlib import Path

from extensions.engine_kit.gguf import SCALARS, STRING

ODD = (
    0, 1, 2, 3, 5, 7, 8, 31, 64, 127, 128, 255, 256, 511, 513, 1000, 65_535, 65_536, 10**6,
    2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
FLOATS = (0.0, -1.0, 1e-45, 1e-5, 1.0, 3.4e38, float("inf"), float("-inf"), float("nan"))


class Spoiler:
    """A good file, and the places in its header that mean something."""

    def __init__(self, file: Path) -> None:
        self.data = file.read_bytes()
        self.values: list[tuple[int, str]] = []
        """Where a number lies, and how it is packed: counts, lengths, kinds, values, shapes."""
        self.texts: list[tuple[int, int]] = []
        """Where a text lies, and its length."""
        self._at = 4
        self._walk()
        self.header = self._at

    def case(self, seed: int) -> tuple[str, bytes]:
        """What was done, and the spoilt file."""
        chance = random.Random(seed)
        data = bytearray(self.data)
        ways = (self._value, self._value, self._value, self._text, self._text, self._bits,
                self._bytes, self._cut, self._move, self._weights)  # fmt: skip
        way = chance.choice(ways)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            data = way(chance, data)
        return way.__name__.strip("_"), bytes(data)

    # --- the ways ---

    def _value(self, chance: random.Random, data: bytearray) -> bytearray:
        at, code = chance.choice(self.values)
        if code in "fd":
            struct.pack_into("<" + code, data, at, chance.choice(FLOATS))
            return data
        size = struct.calcsize(code)
        old = int.from_bytes(data[at : at + size], "little")
        new = chance.choice((*ODD, old + 1, old - 1, old * 2, old // 2, chance.getrandbits(64)))
        data[at : at + size] = (new % 2 ** (8 * size)).to_bytes(size, "little")
        return data

    def _text(self, chance: random.Random, data: bytearray) -> bytearray:
        at, length = chance.choice(self.texts)
        if not length:
            return data
        if chance.random() < 0.3:  # as another text of that length, or as its beginning
            other, size = chance.choice(self.texts)
            piece = data[other : other + min(size, length)]
            data[at : at + len(piece)] = piece
        else:
            data[at + chance.randrange(length)] = chance.choice((0, 10, 32, 65, 200, 255))
        return data

    def _bits(self, chance: random.Random, data: bytearray) -> bytearray:
        data[chance.randrange(self.header)] ^= 1 << chance.randrange(8)
        return data

    def _bytes(self, chance: random.Random, data: bytearray) -> bytearray:
        at, size = chance.randrange(4, self.header), chance.choice((1, 2, 4, 8))
        data[at : at + size] = (chance.choice(ODD) % 2 ** (8 * size)).to_bytes(size, "little")
        return data

    def _cut(self, chance: random.Random, data: bytearray) -> bytearray:
        return data[: chance.randrange(chance.choice((self.header, len(data))))]

    def _move(self, chance: random.Random, data: bytearray) -> bytearray:
        at, size = chance.randrange(4, self.header), chance.randrange(1, 64)
        if chance.random() < 0.5:
            del data[at : at + size]
        else:
            data[at:at] = data[at : at + size]
        return data

    def _weights(self, chance: random.Random, data: bytearray) -> bytearray:
        at = chance.randrange(self.header, len(data) - 4)
        struct.pack_into("<f", data, at - at % 4, chance.choice(FLOATS))
        return data

    # --- what lies where ---

    def _walk(self) -> None:
        self._number("I")
        tensors, keys = self._number("Q"), self._number("Q")
        for _ in range(keys):
            self._string()
            self._item(self._number("I"))
        for _ in range(tensors):
            self._string()
            for code in "Q" * self._number("I") + "IQ":
                self._number(code)

    def _item(self, kind: int) -> None:
        if kind == STRING:
            self._string()
        elif kind in SCALARS:
            self._number(SCALARS[kind].replace("?", "B"))
        else:
            kind, count = self._number("I"), self._number("Q")
            for _ in range(count):
                self._item(kind)

    def _number(self, code: str) -> int:
        self.values.append((self._at, code))
        self._at += struct.calcsize(code)
        return struct.unpack_from("<" + code, self.data, self.values[-1][0])[0]

    def _string(self) -> None:
        length = self._number("Q")
        self.texts.append((self._at, length))
        self._at += length


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def rewritten(source: Path, path: Path, *pairs: tuple[bytes, bytes], template: str = "") -> Path:
    """The same file with other bytes in its header, and with a template in it."""
    spoiler = Spoiler(source)
    head, body = spoiler.data[: spoiler.header], spoiler.data[-(-spoiler.header // 32) * 32 :]
    for old, new in pairs:
        assert head.count(old) == 1
        head = head.replace(old, new)
    if template:
        keys = struct.unpack_from("<Q", head, 16)[0] + 1
        added = text(b"tokenizer.chat_template") + struct.pack("<I", 8) + text(template.encode())
        head = head[:16] + struct.pack("<Q", keys) + added + head[24:]
    path.write_bytes(head + bytes(-len(head) % 32) + body)
    return path
