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

    async def face(self, character: str, persona: str, place: str) -> Face | None:
        """A character with its greetings, as they are said to this persona; `place`, the id of a
        conversation or of where one may begin, decides what dice say in them."""
        ...

    async def expand(
        self, text: str, character: str, persona: str, *, conversation: str, seed: str
    ) -> str:
        """A text with its macros said for the two, its dice by the seed; raises Refused where the
        character is gone."""
        ...
