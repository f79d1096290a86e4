"""The mode `chat`: what was said so far, before it the user's system message if there is one."""

from collections.abc import Callable, Iterable, Sequence

from kernel.api import Message, Request, Text, Turn


class ChatMode:
    """Turns a turn and its history into a request, with nothing added but the system message."""

    id = "chat"
    label = "Chat"

    def __init__(self, system: Callable[[], str]) -> None:
        self._system = system

    async def request(self, turn: Turn, history: Sequence[Message]) -> Request:
        messages = alternating((*history, *turn.messages))
        system = self._system().strip()
        if system and not (messages and messages[0].role == "system"):
            messages = (Message("system", (Text(system),)), *messages)
        return Request(
            turn.slot,
            messages=messages,
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
