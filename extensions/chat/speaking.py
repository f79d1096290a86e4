"""Who speaks in a conversation: its character, or one of those whom another extension knows."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import structs

from extensions.conversations.api import StoredMessage
from extensions.prompts.api import Face, Options
from kernel.api import Message, Point, Struct


class Speaker(Struct, frozen=True):
    """Who says the next reply."""

    name: str = ""
    character: str = ""
    """The id; empty: whom the conversation's setup names."""
    others: tuple[str, ...] = ()
    """The ids of other characters who are there."""
    group: tuple[str, ...] = ()
    """The ids of all who are there, this one too, in their order."""
    muted: tuple[str, ...] = ()
    """Those of them who do not speak by themselves."""

    def of(self, options: Options) -> Options:
        """The options of a turn in which this one speaks."""
        if not self.character:
            return options
        return structs.replace(
            options,
            character=self.character,
            others=self.others,
            group=self.group,
            muted=self.muted,
        )

    def heard(self, history: Sequence[StoredMessage]) -> list[Message]:
        """The history as this one hears it, where the mode has characters: the user's messages
        have the names under which they were said, and among several the replies too."""
        named = ("user", "assistant") if self.character else ("user",) if self.name else ()
        return [
            structs.replace(each.message, name=each.name if each.role in named else "")
            for each in history
        ]


class Speakers(Protocol):
    """Who else may speak, in conversations with a mode that has characters."""

    button: str
    """The id of what opens the list of them, beside the text box."""

    async def speaker(
        self, conversation: str, said: Sequence[StoredMessage], name: str = "", id: str = ""
    ) -> Speaker | None:
        """Who speaks after what was said: the one of that id, or who is called so, if they are
        there; else who is next. None: the character of the setup."""
        ...

    async def faces(self, conversation: str) -> Sequence[Face]:
        """Everybody of a conversation; first who begins it, with the greetings for it."""
        ...


SPEAKERS: Point[Speakers] = Point("speakers", "Who speaks in conversations of several.")
