"""A request on its way to an engine: only now are the bytes of its pictures read."""

from msgspec import structs

from kernel.api import Draft, Message

from .enclosed import Kept
from .store import Store


class Sending:
    """Puts them in, whatever mode made the request; what was left out of it is never read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def filled(self, draft: Draft) -> Draft:
        old = draft.request.messages or ()
        if not any(isinstance(part, Kept) for each in old for part in each.parts):
            return draft
        messages = tuple([await self._filled(each) for each in old])
        return structs.replace(draft, request=structs.replace(draft.request, messages=messages))

    async def _filled(self, message: Message) -> Message:
        if not any(isinstance(part, Kept) for part in message.parts):
            return message
        return structs.replace(message, parts=await self._store.with_bytes(message.parts))
