"""What the store hands out: conversations, messages, search hits, and its two errors."""

from typing import ClassVar, Literal

from kernel.api import Message, Part, Refused, Role, Sampling, Struct, Text, Timings, Usage

from .text import is_secret

State = Literal["running", "done", "stopped", "error", "interrupted"]
"""Of a message; only a reply is ever anything but `done`."""

Ended = Literal["done", "stopped", "error", "interrupted"]


Why = Literal["", "stop", "length", "tool_calls", "cancelled", "error"]
"""Why the engine ended a reply; empty where that was not kept."""


Titled = Literal[0, 1, 2]


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
    folder: str = ""
    """The path of its folder, as `Work/Letters`; empty: in none."""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    titled: Titled = 0
    """Who gave it its title: its own first words, a model, or a person."""

    @property
    def incognito(self) -> bool:
        """It is in memory only, and gone when it is closed or Spindle ends."""
        return is_secret(self.id)


class Folder(Struct, frozen=True):
    """A folder of conversations; a path, of which `/` parts the names."""

    name: str
    folded: bool = False
    """Its conversations are not listed."""
    count: int = 0
    """Conversations in it, without those of folders in it."""


class Listing(Struct, frozen=True):
    """The list at the side: what is pinned, each folder's newest, and the newest of the rest."""

    secret: tuple[Conversation, ...] = ()
    pinned: tuple[Conversation, ...] = ()
    folders: tuple[tuple[Folder, tuple[Conversation, ...]], ...] = ()
    rest: tuple[Conversation, ...] = ()
    more: bool = False
    """There are more that lie in no folder."""


class Trashed(Struct, frozen=True):
    """A deleted conversation that can still be restored."""

    id: str
    title: str
    deleted: float
    messages: int


class Unfiled(Struct, frozen=True):
    """What was in a folder that was deleted, so that it can be brought back."""

    folders: tuple[Folder, ...]
    places: tuple[tuple[str, str], ...]
    """Conversations, each with the folder it was in."""


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
    cut: int = 0
    """Characters at the end of the user's message that the model did not see either."""
    created: float = 0.0
    number: int = 1
    """Its place among the versions of this message, from 1."""
    versions: int = 1
    name: str = ""
    """Who says it, where that is told: a character, or a person of a group."""

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
    later: bool = False
    """There are messages after the last of these."""


class Found(Struct, frozen=True):
    """A search hit: `message` is empty for a title, `pieces` are the words around it.

    Every second piece is one that was looked for. It is `hidden` when another version is shown in
    its place, or before it.
    """

    conversation: Conversation
    message: str = ""
    pieces: tuple[str, ...] = ()
    hidden: bool = False


class Restored(Struct, frozen=True):
    """Other conversations than before are in the store now: show everything anew."""


class Erased(Struct, frozen=True):
    """Something was deleted for good, or may have been: who keeps anything of messages asks
    `Store.gone`."""

    idempotent: ClassVar[bool] = True


class Rearranged(Struct, frozen=True):
    """The list of conversations is another than before: `conversation` was renamed, filed, pinned,
    restored; or, where that is empty, several."""

    conversation: str = ""
