"""What other extensions may use of the store: the point where it is found, and its data."""

from kernel.api import Point

from .enclosed import Kept, weight_of
from .pictures import KINDS, kind_of, look_of
from .records import (
    Conversation,
    Ended,
    Erased,
    Folder,
    Found,
    Listing,
    Opened,
    Rearranged,
    Restored,
    State,
    StoredMessage,
    StoreFailed,
    Trashed,
    Unfiled,
    Unknown,
    Why,
)
from .store import Store
from .text import is_secret
from .whole import Said, Whole

__all__ = [
    "KINDS", "STORE", "Conversation", "Ended", "Erased", "Folder", "Found", "Kept", "Listing",
    "Opened", "Rearranged", "Restored", "Said", "State", "Store", "StoreFailed", "StoredMessage",
    "Trashed", "Unfiled", "Unknown", "Whole", "Why", "is_secret", "kind_of", "look_of", "weight_of",
]  # fmt: skip

STORE: Point[Store] = Point("conversations", "Where conversations are kept.")
