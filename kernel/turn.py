"""The points of a turn: what a modifier may change between a user's words and a reply."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from kernel.contract import Delta, Message, Request, Turn
from kernel.guard import called
from kernel.points import Point
from kernel.sampling import Struct


class Past(Struct, frozen=True):
    """What `HISTORY` modifiers get and give: the messages before the user's turn."""

    messages: tuple[Message, ...]
    turn: Turn


class Draft(Struct, frozen=True):
    """What `REQUEST` modifiers get and give: the final request, made by the mode."""

    request: Request
    turn: Turn


@runtime_checkable
class Mode(Protocol):
    """A way of talking: turns a turn and its history into a request."""

    id: str
    label: str

    async def request(self, turn: Turn, history: Sequence[Message]) -> Request: ...


InputModifier = Callable[[Turn], Awaitable[Turn]]
HistoryModifier = Callable[[Past], Awaitable[Past]]
RequestModifier = Callable[[Draft], Awaitable[Draft]]
Generator = Callable[[Draft], Awaitable[AsyncIterator[Delta] | None]]
OutputModifier = Callable[[AsyncIterator[Delta], Turn], AsyncIterator[Delta]]
"""One that answers with the very deltas it was given takes no part, and costs nothing."""

INPUT: Point[InputModifier] = Point("input", "Change the user's turn.", Callable)
HISTORY: Point[HistoryModifier] = Point("history", "Change the messages before it.", Callable)
REQUEST: Point[RequestModifier] = Point(
    "request", "Change the final request, after the mode.", Callable
)
GENERATE: Point[Generator] = Point(
    "generate", "Answer a turn in the engine's place, or pass.", Callable
)
OUTPUT: Point[OutputModifier] = Point(
    "output", "Change what is stored and sent to programs.", Callable
)
DISPLAY: Point[OutputModifier] = Point("display", "Change only what a page shows.", Callable)
MODES: Point[Mode] = Point("modes", "Ways to talk to a model.", Mode)


def whole_text(change: Callable[[str], Awaitable[str]]) -> OutputModifier:
    """Make an output modifier of a function over complete text; register it with `rewrites`.

    The reply still streams as it comes; the changed text replaces it at the end.
    """

    async def modifier(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        texts: dict[int, str] = {}
        async for delta in deltas:
            if delta.channel == "text":
                texts[delta.choice] = delta.onto(texts.get(delta.choice, ""))
            yield delta
        for choice, text in texts.items():
            yield Delta(await called(change, text), replace=True, choice=choice)

    return modifier
