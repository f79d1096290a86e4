"""What a model gets of a conversation's pictures: as many as it takes, or that there are some.

Nothing here reads them: that is done for what is left of a request (conversations/sending.py)."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from extensions.conversations.api import weight_of
from kernel.api import Conversation, Draft, Extension, Image, Message, Part, Past, Text

from .boxes import dots
from .pictures import READ, TOGETHER

MOST = 16
"""Pictures of one request: engines take no more."""
HEAVIEST = 24 << 20
"""Bytes of them."""
REMEMBERED = 1000
"""Conversations that were told."""
OLDER = "[An earlier picture, no longer shown]\n"
UNSEEN = "[A picture that you cannot see]\n"
UNREAD = "[A picture in a form that cannot be shown to you]\n"
STRANGE = (
    "A picture of this conversation is in a form that the model's engine cannot read: it was told "
    "so. Attach it anew, by the button below it."
)
BLIND = "The model {} cannot see pictures: it was told that there are some, and got your words."


class Seeing:
    """Changes what is asked for a page; a program is told what its model cannot do."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext
        self._told: dict[str, str] = {}
        """What a conversation was told: which model's blindness, or that a picture is strange."""

    async def newest(self, past: Past) -> Past:
        """Leave out what is more than an engine takes, the oldest first."""
        own = [part for each in past.turn.messages for part in each.parts]
        many, bytes_, wide = 0, 0, 0

        def fits(image: Image) -> bool:
            nonlocal many, bytes_, wide
            many, bytes_, wide = many + 1, bytes_ + weight_of(image), wide + dots(image)
            return many <= MOST and bytes_ <= HEAVIEST and wide <= TOGETHER

        for part in own:
            if isinstance(part, Image):
                fits(part)
        messages = [without(each, fits, OLDER) for each in reversed(past.messages)]
        if all(new is old for new, old in zip(reversed(messages), past.messages, strict=True)):
            return past
        return structs.replace(past, messages=tuple(reversed(messages)))

    async def of_model(self, draft: Draft) -> Draft:
        """Tell a model of the pictures that it cannot see, and its page that it cannot."""
        request, turn = draft.request, draft.turn
        model = self._ext.slot(request.slot).model
        if not turn.client or not model:
            return draft
        sees = "images" in model.info.capabilities
        said = UNREAD if sees else UNSEEN
        old = request.messages or ()
        messages = tuple(without(m, lambda i: sees and i.media_type in READ, said) for m in old)
        if all(new is each for new, each in zip(messages, old, strict=True)):
            return draft
        told = STRANGE if sees else BLIND.format(model.info.name)
        page = turn.conversation_id or ""
        if self._told.get(page) != told:
            if len(self._told) == REMEMBERED:
                self._told.clear()
            self._told[page] = told
            self._ext.tell(told, Conversation(page))
        return structs.replace(draft, request=structs.replace(request, messages=messages))


def without(message: Message, fits: Callable[[Image], bool], said: str) -> Message:
    """The message with words in the place of pictures that do not fit."""
    parts: Sequence[Part] = [
        part if not isinstance(part, Image) or fits(part) else Text(said)
        for part in reversed(message.parts)
    ][::-1]
    same = all(new is old for new, old in zip(parts, message.parts, strict=True))
    return message if same else structs.replace(message, parts=tuple(parts))
