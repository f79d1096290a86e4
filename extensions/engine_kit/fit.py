"""What a model would take of which memory, and the loaders that can tell before they load it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from kernel.contract import Struct


class Memory(Struct, frozen=True):
    """A memory: the machine's own, which has no name, or a graphics card's. In bytes."""

    name: str = ""
    free: int = 0
    total: int = 0


class Share(Struct, frozen=True):
    """What a model would take of one memory, in bytes; `compute` is the engine itself, too."""

    memory: Memory
    weights: int = 0
    cache: int = 0
    compute: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute


class Fit(Struct, frozen=True):
    """Whether a model would fit, in a sentence that says what would where it does not."""

    verdict: Literal["fits", "tight", "not"]
    """`tight`: it loads, and is slow then or has too little room for long conversations."""
    said: str
    shares: tuple[Share, ...] = ()


@runtime_checkable
class Weighs(Protocol):
    """A loader that says what a model would take, from its headers alone; it blocks a thread."""

    def weigh(self, path: Path, options: Any, memories: Sequence[Memory], /) -> Fit: ...
