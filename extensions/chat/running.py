"""A reply under way, as everyone else sees it."""

import asyncio

from kernel.api import Reply

from .attempts import Attempts
from .drawing import Drawing
from .thoughts import Places


class Running:
    """A reply under way; without a message until it has begun.

    A round of several holds the conversation with one of its own, `within` which they are: it has
    no message, and stands there between two of them.
    """

    def __init__(self, conversation: str, within: "Running | None" = None) -> None:
        self.conversation, self.message, self.within = conversation, "", within
        self.impersonates = False
        """What is written is the user's next message."""
        self.go_on = ""
        """The reply that it continues, by its id."""
        self.text = self.raw = self.reasoning = ""
        """The words it goes on with: after OUTPUT, of the engine, and its thoughts."""
        self.places = Places()
        self.stopped = False
        self.reply: Reply | Attempts | None = None
        self.task: asyncio.Task[None] | None = None
        self.drawing: Drawing | None = None

    closed = property(lambda self: self.drawing.closed if self.drawing else "")
    open = property(lambda self: self.drawing.open if self.drawing else "")

    def stop(self) -> None:
        self.stopped = True
        if self.within:
            self.within.stop()
        if self.reply:
            self.reply.cancel()
