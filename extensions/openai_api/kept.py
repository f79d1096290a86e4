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


class Kept:
    """All that are remembered; each is only for who asked it. `others` are known beside them."""

    def __init__(
        self, most: int = MOST, largest: int = LARGEST, others: "Kept | None" = None
    ) -> None:
        self._most, self._largest, self._weight, self._others = most, largest, 0, others
        self._given: OrderedDict[str, Given] = OrderedDict()

    def keep(self, id: str, owner: str, messages: tuple[Message, ...], answer: bytes) -> None:
        """Remember one."""
        weight = len(msgspec.msgpack.encode(messages)) + len(answer)
        self._given[id] = Given(owner, messages, answer, weight)
        self._weight += weight
        while len(self._given) > self._most or self._weight > self._largest:
            self._forget(next(iter(self._given)))

    def before(self, owner: str, id: str) -> tuple[Message, ...]:
        """The conversation up to this response; raises Problem."""
        given = self._given.get(id)
        if not given and self._others:
            return self._others.before(owner, id)
        if not given or given.owner != owner:
            raise unknown(id, "previous_response_id", "previous_response_not_found")
        return given.messages

    def answer(self, owner: str, id: str) -> bytes:
        """The response; raises Problem."""
        given = self._given.get(id)
        if not given or given.owner != owner:
            raise unknown(id, "response_id", "response_not_found")
        return given.answer

    def delete(self, owner: str, id: str) -> None:
        """Forget it; raises Problem."""
        self.answer(owner, id)
        self._forget(id)

    def _forget(self, id: str) -> None:
        self._weight -= self._given.pop(id).weight


def unknown(id: str, param: str, code: str) -> Problem:
    """What is said of a response that is not there, or is somebody else's."""
    says = f"{param}: {id} is not remembered: it was never given, not stored, or is too old. "
    return missing(says + "Send the whole conversation as input.", param, code)
