"""What other extensions may know of a key: what it is called, and how much it may use."""

from typing import Protocol

from kernel.api import Point, Principal, Struct


class Limits(Struct, frozen=True):
    """How much the holder of a key may use; 0 is no limit."""

    at_once: int = 0
    """Requests under way at the same time."""
    tokens: int = 0
    """Tokens within a minute, those of prompts, of replies and of texts that became vectors."""


class Keys(Protocol):
    """The one contribution to `KEYS`. Both answer at once, with what is so now."""

    def limits(self, who: Principal) -> Limits:
        """What is set now for the key of who asks, `scope["spindle.principal"]` of a request (which
        has what was set when it came); pages, the owner's key and who has none have no limits."""
        ...

    def name(self, id: str) -> str:
        """What the key of a principal is called; empty for every id that is not a made key's."""
        ...


KEYS: Point[Keys] = Point("keys", "What keys are called, and how much each may use.")
