"""Responses that were given, for who goes on with one: in memory alone, and not without end."""

from collections import Counter, OrderedDict
from collections.abc import Mapping

import msgspec

from extensions.api_kit.api import Problem, missing
from kernel.api import Message, Part, Struct

MOST, LARGEST = 1000, 64 << 20
"""Responses, and bytes of all together; the oldest go first."""


class Given(Struct, frozen=True):
    """One of them."""

    owner: str
    messages: tuple[Message, ...]
    """The conversation, with its answer."""
    answer: bytes
    """The response itself, as JSON."""
    connection: object = None
    """The one that alone may go on with it, where it is not to be stored."""
    items: Mapping[str, Part] = {}
    """What it says, by the ids of its items."""

    def known(self, owner: str, connection: object) -> bool:
        """Whether this owner may go on with it by this connection."""
        return self.owner == owner and self.connection in (None, connection)


class Shared:
    """Messages by their identity: who goes on with a response shares those before it, so that they
    lie in memory once, and weigh once."""

    def __init__(self) -> None:
        self._times: Counter[int] = Counter()

    def take(self, messages: tuple[Message, ...]) -> int:
        """One more response has these; answers the bytes of those that none had."""
        new = 0
        for message in messages:
            if not self._times[id(message)]:
                new += _bytes_of(message)
            self._times[id(message)] += 1
        return new

    def leave(self, messages: tuple[Message, ...]) -> int:
        """One less has these; answers the bytes of those that none has now."""
        gone = 0
        for message in messages:
            self._times[id(message)] -= 1
            if not self._times[id(message)]:
                del self._times[id(message)]  # Another one may get its place in memory.
                gone += _bytes_of(message)
        return gone


class Kept:
    """All that are remembered; each is only for who asked it."""

    def __init__(self, most: int = MOST, largest: int = LARGEST) -> None:
        self._most, self._largest, self._weight = most, largest, 0
        self._given: OrderedDict[str, Given] = OrderedDict()
        self._holders: dict[str, Given] = {}
        """By the id of an item, the one that has it."""
        self._shared = Shared()

    def keep(
        self,
        id: str,
        owner: str,
        messages: tuple[Message, ...],
        answer: bytes,
        connection: object = None,
        items: Mapping[str, Part] = {},
    ) -> None:
        """Remember one, for this connection alone if one is named."""
        self._given[id] = given = Given(owner, messages, answer, connection, items)
        self._holders |= dict.fromkeys(items, given)
        self._weight += self._shared.take(messages) + len(answer)
        while len(self._given) > self._most or self._weight > self._largest:
            self._forget(next(iter(self._given)))

    def before(self, owner: str, id: str, connection: object = None) -> tuple[Message, ...]:
        """The conversation up to this response, as this connection may know it; raises Problem."""
        given = self._given.get(id)
        if not given or not given.known(owner, connection):
            raise unknown(id, "previous_response_id", "previous_response_not_found")
        return given.messages

    def item(self, owner: str, connection: object, id: str, param: str) -> Part:
        """What an item of a response says, as this connection may know it; raises Problem."""
        holder = self._holders.get(id)
        if not holder or not holder.known(owner, connection):
            raise unknown(id, param, "item_not_found")
        return holder.items[id]

    def answer(self, owner: str, id: str) -> bytes:
        """The response; raises Problem."""
        given = self._given.get(id)
        if not given or given.owner != owner or given.connection:
            raise unknown(id, "response_id", "response_not_found")
        return given.answer

    def delete(self, owner: str, id: str) -> None:
        """Forget it; raises Problem."""
        self.answer(owner, id)
        self._forget(id)

    def leave(self, connection: object) -> None:
        """Forget what was for this connection alone."""
        for id in [id for id, given in self._given.items() if given.connection is connection]:
            self._forget(id)

    def _forget(self, id: str) -> None:
        given = self._given.pop(id)
        for each in given.items:
            del self._holders[each]
        self._weight -= self._shared.leave(given.messages) + len(given.answer)


def _bytes_of(message: Message) -> int:
    return len(msgspec.msgpack.encode(message))


def unknown(id: str, param: str, code: str) -> Problem:
    """What is said of a response, or an item, that is not there, or is somebody else's."""
    says = f"{param}: {id} is not remembered: it was never given, not stored, or is too old. "
    return missing(says + "Send the whole conversation as input.", param, code)
