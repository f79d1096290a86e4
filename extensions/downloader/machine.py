"""How much room for a model this machine has. Blocks."""

import os
from contextlib import suppress

from .fitting import Room, room_of


def room() -> Room:
    """The machine's own memory, and that of its graphics cards."""
    with suppress(AttributeError, ValueError, OSError):
        page = os.sysconf("SC_PAGE_SIZE")
        own = os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
        return room_of(own, ())
    return Room(0)
