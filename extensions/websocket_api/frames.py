"""Frames beside those of a reply: who talks, news, and actions."""

from typing import Annotated, Any

import msgspec

from kernel.api import Meta, Struct

from .asking import VERSION
from .events import Name

Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)]


class Hello(Struct, frozen=True, tag_field="type", tag="hello"):
    """Ask what Spindle speaks, and what this program may do."""

    version: Annotated[int, Meta(ge=1, le=VERSION)] = VERSION
    key: str | None = None
    """For who could send none with the handshake; only in the first frame."""


class Welcome(Struct, frozen=True, tag_field="type", tag="hello"):
    """The answer to hello."""

    version: int
    server: str
    """The version of Spindle."""
    rights: str
    """generate (replies) or admin (everything)."""


class Subscribe(Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Hear of these from now on."""

    events: Names


class Unsubscribe(Struct, frozen=True, tag_field="type", tag="unsubscribe"):
    """Hear of these no more."""

    events: Names


class Subscribed(Struct, frozen=True, tag_field="type", tag="subscribed"):
    """All that is heard of now; the answer to both."""

    events: tuple[Name, ...]


class Act(Struct, frozen=True, tag_field="type", tag="act"):
    """Do what a page can do; needs the rights of an administrator."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    """A name of the program's choice, which the answer bears."""
    action: Annotated[str, Meta(max_length=99)]
    """As `chat.send`."""
    fields: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    path: Annotated[str, Meta(max_length=1000)] = "/"
    """The address of the page on which a person would do it, for actions that depend on it."""


class Acted(Struct, frozen=True, tag_field="type", tag="acted"):
    """It was done; `notes` are what a page would show in its corner."""

    id: str
    notes: tuple[str, ...] = ()
    result: Any = None
    """What its handler answered, where that is a struct."""
