"""What the store hands out: conversations, messages, search hits, and its two errors."""

from typing import Literal

from kernel.api import Message, Part, Refused, Role, Sampling, Struct, Text, Timings, Usage

State = Literal["running", "done", "stopped", "error", "interrupted"]
"""Of a message; only a reply is ever anything but `done`."""

Ended = Literal["done", "stopped", "error", "interrupted"]


Why = Literal["", "stop", "length", "tool_calls", "cancelled", "error"]
"""Why the engine ended a reply; empty where that was not kept."""


class StoreFailed(Refused):
    """Something could not be saved or read; the sentence says why and what to do."""


class Unknown(Refused):
    """The conversation or message asked for is not there, or not any more."""


class Conversation(Struct, frozen=True):
    """A tree of messages, of which the branch that ends in `leaf` is shown.

    `touched` orders the list (newest last change first) and grows by counting, never by a clock;
    `created` and `updated` are seconds since 1970, to be shown and nothing else.
    """

    id: str
    title: str
    leaf: str = ""
    touched: int = 0
    revision: int = 0
    """Grows with every change, so that a view can tell whether it is out of date."""
    created: float = 0.0
    updated: float = 0.0


class StoredMessage(Struct, frozen=True):
    """A message as it is kept; it never changes once its state is not `running`."""

    id: str
    conversation: str
    role: Role
    parent: str = ""
    parts: tuple[Part, ...] = ()
    text: str = ""
    """After `OUTPUT`: what is shown and copied."""
    raw: str = ""
    """The engine's words: what the model sees again."""
    reasoning: str = ""
    state: State = "done"
    error: str = ""
    model: str = ""
    loader: str = ""
    sampling: Sampling = Sampling()
    usage: Usage = Usage()
    timings: Timings = Timings()
    reason: Why = ""
    left_out: int = 0
    """Messages before it that the model did not see, since its context was full."""
    created: float = 0.0
    number: int = 1
    """Its place among the versions of this message, from 1."""
    versions: int = 1

    @property
    def message(self) -> Message:
        """As a model sees it: the user's parts, or the engine's own words."""
        parts = (Text(self.raw),) if self.role == "assistant" else self.parts
        return Message(self.role, parts, id=self.id)


class Opened(Struct, frozen=True):
    """A conversation and the end of its shown branch, oldest message first."""

    conversation: Conversation
    messages: tuple[StoredMessage, ...] = ()
    earlier: bool = False
    """There are messages before the first of these."""


class Found(Struct, frozen=True):
    """A search hit: the excerpt around it, in three pieces; `message` is empty for a title.

    It is `hidden` when another version is shown in its place, or before it.
    """

    conversation: Conversation
    message: str = ""
    before: str = ""
    hit: str = ""
    after: str = ""
    hidden: bool = False


class Restored(Struct, frozen=True):
    """Other conversations than before are in the store now: show everything anew."""
