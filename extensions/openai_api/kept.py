"""Responses that were given, for who goes on with one: in memory alone, and not without end."""

from collections import OrderedDict

import msgspec

from extensions.api_kit.api import Problem, missing
from kernel.api import Message, Struct

MOST, LARGEST = 1000, 64 << 20
"""Responses, and bytes of all together; the oldest go first."""


class Given(Struct, frozen=True):
    """One of them."""

    owner: str
    messages: tuple[Message, ...]
    """The conversation, with its answer."""
    answer: bytes
    """The response itself, as JSON."""
    weight: int
    connection: object = None
    """The one that alone may go on with it, where it is not to be stored."""


class Kept:
    """All that are remembered; each is only for who asked it."""

    def __init__(self, most: int = MOST, largest: int = LARGEST) -> None:
        self._most, self._largest, self._weight = most, largest, 0
        self._given: OrderedDict[str, Given] = OrderedDict()

    def keep(
        self,
        id: str,
        owner: str,
        messages: tuple[Message, ...],
        answer: bytes,
        connection: object = None,
    ) -> None:
        """Remember one, for this connection alone if one is named."""
        weight = len(msgspec.msgpack.encode(messages)) + len(answer)
        self._given[id] = Given(owner, messages, answer, weight, connection)
        self._weight += weight
        while len(self._given) > self._most or self._weight > self._largest:
            self._forget(next(iter(self._given)))

    def before(self, owner: str, id: str, connection: object = None) -> tuple[Message, ...]:
        """The conversation up to this response, as this connection may know it; raises Problem."""
        given = self._given.get(id)
        if not given or given.owner != owner or given.connection not in (None, connection):
            raise unknown(id, "previous_response_id", "previous_response_not_found")
        return given.messages

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
        self._weight -= self._given.pop(id).weight


def unknown(id: str, param: str, code: str) -> Problem:
    """What is said of a response that is not there, or is somebody else's."""
    says = f"{param}: {id} is not remembered: it was never given, not stored, or is too old. "
    return missing(says + "Send the whole conversation as input.", param, code)
