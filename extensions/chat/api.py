"""What other extensions may use of the chat: how its conversations are set up, and its renderer,
so that all markdown is as safe."""

from collections.abc import Awaitable, Callable

from extensions.conversations.api import StoredMessage
from kernel.api import Point, Reply

from .enclosing import ENCLOSURES, Enclosing
from .markdown import Code, Markdown, plain
from .setup import Setup, Setups
from .speaking import SPEAKERS, Speaker, Speakers
from .talking import Talking

__all__ = [
    "ENCLOSURES", "SETUPS", "SPEAKERS", "TALK", "WATCHERS", "Code", "Enclosing", "Markdown",
    "Setup", "Setups", "Speaker", "Speakers", "Talking", "Watcher", "plain",
]  # fmt: skip

Watcher = Callable[[StoredMessage, Reply], Awaitable[None]]

WATCHERS: Point[Watcher] = Point(
    "watchers", "Are told of each reply that has ended, with the steps it took.", Callable
)
SETUPS: Point[Setups] = Point("setups", "How conversations are set up: their modes and options.")
TALK: Point[Talking] = Point("talk", "What may be done in a conversation in a person's place.")
