"""A conversation that is longer than the model's context: its oldest turns are left out."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from kernel.api import UNSET, Audio, Extension, Image, Message, Model, Turn

GUESS = 4
"""Characters of a token, where the model cannot be asked."""
FRAME = 16
"""Bytes that a template may put around a message; more than enough for the quick look."""

WIDEST = 16
"""Bytes of a token, on average over a prompt, at the very most: what is longer is not counted."""
KEPT = 75
"""Percent of the room that is used after something was left out: the next turns then begin with
the same words, which the engine has read already."""


class Fitting:
    """Leaves out what no longer fits, and remembers how much that was."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext
        self._left_out: dict[str, int] = {}
        self._first: dict[str, str] = {}
        """What the last prompt of each conversation began with, after something was left out."""

    def left_out(self, conversation: str) -> int:
        """How many messages the last turn of a conversation did without."""
        return self._left_out.pop(conversation, 0)

    async def fitted(self, turn: Turn, messages: Sequence[Message]) -> Sequence[Message]:
        """Whole turns from the front go, never the system message or the last user's.

        Only for the conversations of pages: programs say themselves what they want left out.
        """
        slot = self._ext.slot(turn.slot)
        while slot.state.state == "loading":
            await slot.wait()
        if not turn.conversation_id or not slot.model or not slot.model.info.context_length:
            return messages
        model, context = slot.model, slot.model.info.context_length
        limit = turn.sampling.max_new_tokens
        room = context - (context // 4 if limit is UNSET else min(limit, context // 4))
        size = sum(len(message.text.encode()) + FRAME for message in messages)
        if size < room // 2:  # No token is shorter than a byte: it fits, whatever the model counts.
            return messages
        head = [*messages[: messages[0].role == "system"]] if messages else []
        rest = messages[len(head) :]
        cuts = within(rest, room * WIDEST)
        if not cuts[0] and await count(model, turn, messages) <= room:
            return messages
        first = self._first.get(turn.conversation_id, "")
        begun = next((n for n in cuts if n and first and rest[n].id == first), 0)
        if begun and await count(model, turn, [*head, *rest[begun:]]) <= room:
            self._left_out[turn.conversation_id] = begun
            return [*head, *rest[begun:]]
        low, high, lean = int(not cuts[0]), len(cuts) - 1, room * KEPT // 100
        while low < high:  # The fewest turns without which it fits, with room for more.
            middle = (low + high) // 2
            if await count(model, turn, [*head, *rest[cuts[middle] :]]) <= lean:
                high = middle
            else:
                low = middle + 1
        cut = cuts[min(low, len(cuts) - 1)]
        self._left_out[turn.conversation_id] = cut
        self._first[turn.conversation_id] = rest[cut].id if rest else ""
        return [*head, *rest[cut:]]


def within(messages: Sequence[Message], most: int) -> list[int]:
    """Where one may begin, so that at most so many bytes follow; at least the last such place."""
    places, size = [0, *starts(messages)], 0
    before = [0]
    for message in messages:
        before.append(size := size + len(message.text.encode()))
    return [n for n in places if size - before[n] <= most] or places[-1:]


def starts(messages: Sequence[Message]) -> list[int]:
    """Where turns begin after the first message: a user's message that follows no other one."""
    roles = ["", *(message.role for message in messages)]
    return [n for n in range(1, len(messages)) if roles[n + 1] == "user" != roles[n]]


async def count(model: Model, turn: Turn, messages: Sequence[Message]) -> int:
    """The tokens of a prompt, or a guess where the model cannot be asked or refuses."""
    plain = [
        structs.replace(m, parts=tuple(p for p in m.parts if not isinstance(p, Image | Audio)))
        for m in messages
    ]
    try:
        prompt = await model.call(
            "template",
            messages=msgspec.to_builtins(plain),
            tools=[dict(tool) for tool in turn.tools],
            continue_=turn.continue_,
        )
        return len(await model.call("tokenize", text=prompt))
    except Exception:  # Whatever it is, the reply itself will say it.
        return sum(len(m.text) + FRAME for m in plain) // GUESS
