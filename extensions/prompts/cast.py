"""Who can speak in a conversation: what a mode with characters tells the page of them."""

from collections.abc import Sequence
from typing import Protocol

from kernel.api import Struct


class Face(Struct, frozen=True):
    """A character or a persona as a page shows it."""

    id: str
    name: str
    picture: str = ""
    """The address of its picture on this server."""
    greetings: tuple[str, ...] = ()
    """The first message of a conversation, and others in its place."""


class CastChanged(Struct, frozen=True):
    """Characters or personas came, went or changed."""


class CastRenamed(Struct, frozen=True):
    """A character got another id: whoever keeps the old one takes the new one."""

    old: str
    new: str


class Cast(Protocol):
    """Where characters and personas come from."""

    async def characters(self) -> Sequence[Face]: ...

    async def personas(self) -> Sequence[Face]: ...

    async def face(self, character: str, persona: str) -> Face | None:
        """A character with its greetings, as they are said to this persona."""
        ...

    async def expand(self, text: str, character: str, persona: str) -> str:
        """A text with its macros said for the two; raises Refused where the character is gone."""
        ...
