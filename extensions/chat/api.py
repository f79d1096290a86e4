"""What other extensions may use of the chat: how its conversations are set up, and its renderer,
so that all markdown is as safe."""

from kernel.api import Point

from .markdown import Code, Markdown, plain
from .setup import Setup, Setups

__all__ = ["SETUPS", "Code", "Markdown", "Setup", "Setups", "plain"]

SETUPS: Point[Setups] = Point("setups", "How conversations are set up: their modes and options.")
