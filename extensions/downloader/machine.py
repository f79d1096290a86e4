"""How much room for a model this machine has. Blocks."""

from extensions.engine_kit.api import memories

from .fitting import Room, room_of


def room() -> Room:
    """The machine's own memory, and that of its graphics cards."""
    own, *cards = ((memory.free, memory.total) for memory in memories())
    return room_of(own, cards)
