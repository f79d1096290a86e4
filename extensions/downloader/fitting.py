"""What fits this machine, before a byte of it is here: from the size of the files alone.

Once a model is here its loader says it exactly, from the header; this is to choose by.
"""

from collections.abc import Sequence
from typing import Literal

from kernel.api import Struct

from .choosing import Choice, missing_parts

OVERHEAD = 0.1
"""Of the weights, for what a step computes in."""
LEAST = 512 << 20
"""Bytes for a conversation of some thousand tokens and the engine itself."""
USUAL = 4.8
"""Bits of Q4_K_M, below which a loss is noticed."""
MOST = 8.6
"""Bits above which nothing is won."""
EASY = 0.25
"""Of the machine's memory: up to here a processor is quick enough for more bits."""

Fits = Literal["card", "memory", "not", ""]


class Room(Struct, frozen=True):
    """Bytes that a model may take: of the machine's own memory, and of its graphics cards."""

    memory: int
    cards: int = 0

    @property
    def all(self) -> int:
        return self.memory + self.cards


def room_of(own: tuple[int, int], cards: Sequence[tuple[int, int]]) -> Room:
    """From what is free and what there is of each memory; at least half of what there is counts,
    since what is used now, by the loaded model first of all, can be given back."""

    def usable(memory: tuple[int, int]) -> int:
        free, total = memory
        return max(free, total // 2)

    return Room(usable(own), sum(map(usable, cards)))


def need(weights: int) -> int:
    """Bytes that weights of this size take while they are used."""
    return int(weights * (1 + OVERHEAD)) + LEAST if weights else 0


def fits(weights: int, room: Room) -> Fits:
    """Where a model of this size finds room; "" where nothing is known."""
    if not weights or not room.all:
        return ""
    wanted = need(weights)
    if wanted <= room.cards:
        return "card"
    return "memory" if wanted <= room.all else "not"


def advised(choices: Sequence[Choice], room: Room) -> Choice | None:
    """The GGUF to take: 4 bits (Q4_K_M) where they fit, more where that costs no patience, fewer
    where it must be. None where none fits, or there is no GGUF."""
    found = [
        choice
        for choice in choices
        if choice.form == "gguf" and not choice.lora and not missing_parts(choice)
    ]
    able = [c for c in found if fits(c.weights, room) not in ("not", "")] if room.all else found
    easy = max(room.cards, int(room.memory * EASY))
    many = [c for c in able if USUAL <= c.quantization.bits <= MOST and need(c.weights) <= easy]
    few = [c for c in able if 0 < c.quantization.bits <= USUAL]
    if many:
        return max(many, key=_worth)
    if few:
        return max(few, key=_worth)
    return min(able, key=lambda choice: choice.weights, default=None)


def _worth(choice: Choice) -> tuple[float, bool, int]:
    """More bits first; of the same the plain form, then the smaller."""
    name = choice.quantization.name
    return choice.quantization.bits, name in ("Q4_K_M", "Q8_0", "Q6_K", "Q5_K_M"), -choice.size


def largest(parameters: int, room: Room) -> float:
    """The most bits for each number of a model of this many with which it fits; 0 for none."""
    if not parameters:
        return 0.0
    for bits in (8.5, 6.6, 5.7, USUAL, 3.9, 3.0):
        if fits(int(parameters * bits / 8), room) not in ("not", ""):
            return bits
    return 0.0
