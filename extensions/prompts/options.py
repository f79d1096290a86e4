"""What a turn may tell a mode beside its messages, and what every mode does with it."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

import msgspec

from kernel.api import UNSET, Message, Meta, Part, Refused, Struct, Text, Turn, UnsetType

Name = Annotated[str, Meta(max_length=200)]
Words = Annotated[str, Meta(max_length=400_000)]
Effort = Literal["low", "medium", "high"]


class Options(Struct, frozen=True):
    """`Turn.options` as the modes of Spindle read them; what they do not know is left alone."""

    character: Name = ""
    persona: Name = ""
    bot_name: Name = ""
    """What the character is called, in the place of its own name; with `context` it may be all
    that there is of a character."""
    context: Words = ""
    """What the character is, in the place of its own description, personality and examples."""
    user_name: Name = ""
    user_bio: Words = ""
    """The same of the persona."""
    idle: Annotated[float, Meta(ge=0, le=1e11)] = 0.0
    """Seconds since the user spoke before this turn, for `{{idle_duration}}`."""
    others: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    """Other characters who are there, by their ids."""
    group: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    """All characters of a conversation of several, the one who speaks too, in their order."""
    muted: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    """Those of them who do not speak by themselves."""
    template: Name = ""
    """The name of an instruction template; empty: the model's own, or what was chosen for it."""
    template_source: Words = ""
    """An instruction template (Jinja) in the place of that one."""
    chat_template: Words = ""
    """How `Name: text` lines are written (Jinja); empty: as usual."""
    system_message: Words = ""
    command: Words = ""
    """The user's words around a character's conversation, in chat-instruct."""
    start_reply_with: Words = ""
    stopping_strings: Annotated[tuple[Annotated[str, Meta(max_length=1000)], ...],
                                Meta(max_length=100)] = ()  # fmt: skip
    stop_at_newline: bool = False
    """A reply is one line."""
    chat_generation_attempts: Annotated[int, Meta(ge=1, le=10)] = 1
    """How often the model is asked at most, as long as its reply grows or is empty."""
    enable_thinking: bool | UnsetType = UNSET
    reasoning_effort: Effort | UnsetType = UNSET
    preserve_thinking: bool | UnsetType = UNSET
    truncation: Literal["auto", "disabled"] = "disabled"
    """Whether the oldest messages of a program are left out where all of them do not fit; those
    of a page's conversation always are."""
    impersonate: bool = False
    """The model writes the user's message, which goes on after the words of the turn."""

    @classmethod
    def of(cls, turn: Turn) -> "Options":
        """The options of a turn; raises Refused for a value that is no good."""
        try:
            return msgspec.convert(dict(turn.options), cls)
        except msgspec.ValidationError as error:
            raise Refused(f"An option of this turn is no good: {error}. Change it.") from None

    def for_template(self) -> dict[str, Any]:
        """What templates read of it, by the names that they give it."""
        said: dict[str, Any] = {}
        if self.enable_thinking is not UNSET:
            said["enable_thinking"] = said["thinking"] = self.enable_thinking
            said["thinking_budget"] = -1 if self.enable_thinking else 0
        if self.reasoning_effort is not UNSET:
            said["reasoning_effort"] = self.reasoning_effort
        if self.preserve_thinking is not UNSET:
            said["preserve_thinking"] = self.preserve_thinking
        return said

    def begun(self, turn: Turn, messages: Sequence[Message]) -> tuple[list[Message], bool]:
        """The messages, and whether the last one is to be continued: the reply before it, the
        reply's given beginning, or the user's message where the model writes in the user's place.
        """
        if self.impersonate:
            said = [] if turn.messages else [Message("user", (Text(""),))]
            return [*messages, *said], True
        if self.start_reply_with and not turn.continue_:
            return [*messages, Message("assistant", (Text(self.start_reply_with),))], True
        return [*messages], turn.continue_


def system(text: str) -> list[Message]:
    """A system message, if there is something to say."""
    return [Message("system", (Text(text.strip()),))] if text.strip() else []


def alternating(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Join neighbours of one role, as are left by a deletion: many templates refuse them."""
    joined: list[Message] = []
    for role, neighbours in groupby(messages, lambda message: message.role):
        said = [*neighbours]
        joined += [as_one(said)] if role in ("user", "assistant") else said
    return tuple(joined)


def as_one(said: Sequence[Message]) -> Message:
    """Messages of one role as one, each a paragraph; it is known by the last."""
    parts: list[Part] = []
    for message in said:
        parts += [Text("\n\n")] if parts and message.parts else []
        parts += message.parts
    return Message(said[-1].role, tuple(parts), said[-1].name, said[-1].id)
