"""Tool calls as they come in a reply: the channel `tool` holds one line of JSON for each."""

import msgspec

from kernel.api import Struct, built


@built
class Called(Struct, frozen=True):
    """A call that the model wants made; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


def calls_in(text: str) -> list[Called]:
    """The calls in what was said in that channel: whole lines."""
    return [msgspec.json.decode(line, type=Called) for line in text.splitlines() if line.strip()]
