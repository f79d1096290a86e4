"""The mode `chat`: what was said so far, before it the user's system message if there is one."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from kernel.api import Message, Request, Text, Turn

Fit = Callable[[Turn, Sequence[Message]], Awaitable[Sequence[Message]]]
"""Leaves out what no longer fits into the model's context."""


class ChatMode:
    """Turns a turn and its history into a request, with nothing added but the system message."""

    id = "chat"
    label = "Chat"

    def __init__(self, system: Callable[[], str], fit: Fit | None = None) -> None:
        self._system, self._fit = system, fit

    async def request(self, turn: Turn, history: Sequence[Message]) -> Request:
        messages: Sequence[Message] = (*history, *turn.messages)
        system = self._system().strip()
        if system and not (messages and messages[0].role == "system"):
            messages = (Message("system", (Text(system),)), *messages)
        if self._fit:
            messages = await self._fit(turn, messages)
        return Request(
            turn.slot,
            messages=alternating(messages),
            sampling=turn.sampling,
            adapters=turn.adapters,
            tools=turn.tools,
            continue_=turn.continue_,
        )


def alternating(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Join neighbours of one role, as are left by a deletion: many templates refuse them."""
    joined: list[Message] = []
    for message in messages:
        if joined and message.role == joined[-1].role and message.role in ("user", "assistant"):
            before = joined.pop()
            gap = (Text("\n\n"),) if before.parts and message.parts else ()
            message = Message(
                message.role, (*before.parts, *gap, *message.parts), message.name, message.id
            )
        joined.append(message)
    return tuple(joined)
