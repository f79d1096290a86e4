"""What other extensions may import: the calls of a reply, and whether a turn can be answered."""

import msgspec

from kernel.api import Struct, built

from .choosing import refusal

__all__ = ["Call", "calls", "refusal"]


@built
class Call(Struct, frozen=True):
    """A tool that the model wants called; `arguments` is a JSON object."""

    id: str
    name: str
    arguments: str


def calls(text: str) -> list[Call]:
    """The calls of a reply's channel `tool`, as it is joined; a line that is not whole is left."""
    lines = text.split("\n")[:-1]
    return [msgspec.json.decode(line, type=Call) for line in lines if line]
