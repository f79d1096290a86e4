"""Tool calls as they come in a reply: the channel `tool` holds one line of JSON for each."""

import json
import re
from collections.abc import AsyncIterator, Iterator

import msgspec
from msgspec import structs

from kernel.api import Delta, Draft, Finish, Struct, built

from .composing import Nothing
from .wishes import ASKED, Wish

HEAD = re.compile(r'\{"id": ("[^"]*"), "name": ("(?:[^"\\]|\\.)*"), "arguments": "')
WHOLE = re.compile(r'(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*')
"""Letters of a text of JSON, none of them in part."""

NOBODY = (
    "tool_choice asks for the call of a tool, and nothing that runs makes a model call one. Switch "
    "on Tool calls in Settings, or set tool_choice to auto."
)


async def uncalled(draft: Draft) -> AsyncIterator[Delta] | None:
    """The `GENERATE` modifier: no reply without the call that has to be, where nobody sees to that.
    Who does holds the reply to a form, which is none of the program's own."""
    turn, grammar = draft.turn, draft.request.grammar
    own = turn.options.get(ASKED) or {}
    free = not grammar or grammar == own.get("grammar")
    must = turn.options.get("tool_choice") not in (None, "", "auto", "none")
    if not must or not free or turn.prompt is not None:
        return None
    return Nothing(Finish("error", error=NOBODY, refused="tool_choice"))


@built
class Called(Struct, frozen=True):
    """A call that the model wants made; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


class CallPart(Struct, frozen=True):
    """Some of a call: the first part of one has its id and name, the last is `over`."""

    arguments: str
    over: bool
    id: str = ""
    name: str = ""


def calls_in(text: str) -> list[Called]:
    """The calls in what was said in that channel: whole lines."""
    return [msgspec.json.decode(line, type=Called) for line in text.splitlines() if line.strip()]


def growing(wish: Wish) -> Wish:
    """The wish of who takes calls in parts, as `Calls` tells them."""
    return structs.replace(wish, options={**wish.options, "growing_calls": True})


class Calls:
    """Tells the parts of calls from that channel as it is said. `open` is whether the last of them
    is not whole: its reply was cut off, or goes on."""

    def __init__(self) -> None:
        self.open = False
        self._line = ""

    def hear(self, text: str) -> Iterator[CallPart]:
        """The parts that come with this text."""
        *ends, rest = text.split("\n")
        for line in ends:
            yield from self._hear(line, over=True)
        yield from self._hear(rest, over=False)

    def _hear(self, words: str, *, over: bool) -> Iterator[CallPart]:
        self._line += words
        if not self.open and over:
            for call in calls_in(self._line):
                yield CallPart(call.arguments, True, call.id, call.name)
            self._line = ""
        elif self.open:
            yield from self._grow(over)
        elif found := HEAD.match(self._line):
            self.open, self._line = True, self._line[found.end() :]
            yield from self._grow(over, json.loads(found[1]), json.loads(found[2]))

    def _grow(self, over: bool, id: str = "", name: str = "") -> Iterator[CallPart]:
        whole = WHOLE.match(self._line)
        told = whole[0] if whole else ""
        self._line = "" if over else self._line[len(told) :]
        self.open = not over
        if told or over or id:
            yield CallPart(json.loads(f'"{told}"'), over, id, name)
