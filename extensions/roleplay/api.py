"""What other modes with characters build on: the conversation as named messages."""

from .lines import LINES, Play, names, play_of

__all__ = ["LINES", "Play", "names", "play_of"]
