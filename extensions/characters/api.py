"""What other extensions may use of characters: where the library is found, and its data."""

from kernel.api import Point

from .library import Library, LibraryChanged, Renamed
from .records import (
    INSERTED,
    Book,
    Character,
    Company,
    Count,
    Entry,
    Lore,
    Note,
    Part,
    Persona,
    Place,
    Scene,
)
from .worlds import SHELVES, Shelf, WorldRenamed

__all__ = [
    "CHARACTERS", "INSERTED", "SHELVES", "Book", "Character", "Company", "Count", "Entry",
    "Library", "LibraryChanged", "Lore", "Note", "Part", "Persona", "Place", "Renamed", "Scene",
    "Shelf", "WorldRenamed",
]  # fmt: skip

CHARACTERS: Point[Library] = Point("characters", "Who a model can speak as, and for whom.")
