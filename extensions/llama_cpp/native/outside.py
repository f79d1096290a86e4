"""What sequences of a context remembered, in ordinary memory; the longest unused goes first."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from extensions.llama_cpp.native.row import Adapters


@dataclass(frozen=True)
class Away:
    """What a sequence remembered, copied out."""

    tokens: Any
    adapters: Adapters
    state: bytes | memoryview
    secret: bool = False
    """It may not be saved."""


class Outside:
    """All that was copied out, of at most so many bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[bytes, Away] = OrderedDict()
        self._size = 0

    def __iter__(self) -> Iterator[Away]:
        return iter(self._kept.values())

    def find(self, tokens: Any, adapters: Adapters) -> Away | None:
        """What was read of exactly these tokens with these adapters; it counts as used now."""
        key = _key(tokens, adapters)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def fits(self, size: int) -> bool:
        """Whether so many bytes more push nothing out."""
        return self._size + size <= self.most

    def keep(self, away: Away) -> None:
        self.drop(away.tokens, away.adapters)
        if len(away.state) > self.most:
            return
        self._kept[_key(away.tokens, away.adapters)] = away
        self._size += len(away.state)
        while self._size > self.most:
            _, gone = self._kept.popitem(last=False)
            self._size -= len(gone.state)

    def drop(self, tokens: Any, adapters: Adapters) -> None:
        if gone := self._kept.pop(_key(tokens, adapters), None):
            self._size -= len(gone.state)


def _key(tokens: Any, adapters: Adapters) -> bytes:
    return repr(adapters).encode() + tokens.tobytes()
