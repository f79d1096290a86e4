"""What other extensions may use of the store: the point where it is found, and its data."""

from kernel.api import Point

from .records import (
    Conversation,
    Ended,
    Found,
    Opened,
    Restored,
    State,
    StoredMessage,
    StoreFailed,
    Unknown,
    Why,
)
from .store import Store

__all__ = [
    "STORE", "Conversation", "Ended", "Found", "Opened", "Restored", "State", "Store",
    "StoreFailed", "StoredMessage", "Unknown", "Why",
]  # fmt: skip

STORE: Point[Store] = Point("conversations", "Where conversations are kept.")
