"""The frames of the protocol: each struct is the form, the check and the schema of one."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from extensions.api_kit.api import Fault, refused
from extensions.api_kit.api import read as decoded
from kernel.api import (
    Message,
    Meta,
    Part,
    Role,
    Sampling,
    Struct,
    Text,
    Timings,
    Turn,
    Usage,
)

VERSION = 1

Id = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._~-]{1,64}$",
        description="A name of the program's choice for one reply, best a random one.",
    ),
]
Channel = Literal["text", "reasoning", "tool"]


class Said(Struct, frozen=True):
    """One message of the conversation; `content` is words, or parts as the schema tells."""

    role: Role
    content: str | Annotated[tuple[Part, ...], Meta(max_length=1000)]
    name: Annotated[str, Meta(max_length=256)] = ""

    def message(self) -> Message:
        parts = (Text(self.content),) if isinstance(self.content, str) else self.content
        return Message(self.role, parts, self.name)


class Asked(Struct, frozen=True):
    """What both ways of asking share: exactly one of `messages` and `prompt`."""

    messages: Annotated[tuple[Said, ...], Meta(max_length=10_000)] = ()
    """The whole conversation, the newest message last."""
    prompt: str | None = None
    """A plain completion, without a mode."""
    mode: Annotated[str, Meta(max_length=64)] = "instruct"
    options: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What the mode is told beside the messages, as its README says."""
    sampling: Sampling = Sampling()
    tools: Annotated[tuple[dict[str, Any], ...], Meta(max_length=1000)] = ()
    adapters: Annotated[tuple[tuple[str, float], ...], Meta(max_length=64)] = ()
    continue_: bool = msgspec.field(default=False, name="continue")
    """Go on with the last message, which is the assistant's."""
    version: Annotated[int, Meta(ge=1, le=VERSION)] = VERSION

    def turn(self, principal: str) -> tuple[Turn, Sequence[Message]]:
        """The turn and what came before it; raises Problem when there is nothing to answer."""
        if (self.prompt is None) == (not self.messages):
            raise refused("Give either messages or a prompt.", "messages")
        messages = [said.message() for said in self.messages]
        last = messages[-1].role if messages else ""
        if self.continue_ and last != "assistant":
            raise refused("Only a last message of the assistant can be continued.", "continue")
        new = 0 if self.continue_ or not messages else 1
        turn = Turn(
            messages=tuple(messages[len(messages) - new :]),
            mode=self.mode,
            options=self.options,
            principal=principal,
            sampling=self.sampling,
            tools=self.tools,
            adapters=self.adapters,
            continue_=self.continue_,
            prompt=self.prompt,
        )
        return turn, messages[: len(messages) - new]


# --- from the program -------------------------------------------------------------------


class Start(Asked, frozen=True, kw_only=True, tag_field="type", tag="start"):
    """Begin a reply; it is called `id` from now on."""

    id: Id
    linger: Annotated[float, Meta(ge=0, le=3600)] | None = None
    """Seconds that it goes on when nobody reads it; without it, what the settings say."""


class Cancel(Struct, frozen=True, tag_field="type", tag="cancel"):
    """Stop a reply; what was said stays."""

    stream: Id


class Resume(Struct, frozen=True, tag_field="type", tag="resume"):
    """Follow a reply again, from the event after `last_seq`."""

    stream: Id
    last_seq: Annotated[int, Meta(ge=0, le=2**53)] = 0


class Generate(Asked, frozen=True, kw_only=True):
    """The body of POST /api/reply."""

    id: Id | None = None
    stream: bool = False
    """Answer with one JSON event a line instead of one answer at the end."""


# --- from the server --------------------------------------------------------------------


class Started(Struct, frozen=True, tag_field="type", tag="started"):
    """The reply was accepted."""

    stream: str
    seq: int
    version: int


class Delta(Struct, frozen=True, tag_field="type", tag="delta"):
    """Text to append to what was said in this channel of this choice."""

    stream: str
    seq: int
    text: str
    channel: Channel = "text"
    choice: int = 0


class Replace(Struct, frozen=True, tag_field="type", tag="replace"):
    """Text instead of all that was said in this channel of this choice."""

    stream: str
    seq: int
    text: str
    channel: Channel = "text"
    choice: int = 0


class Waiting(Struct, frozen=True, tag_field="type", tag="waiting"):
    """Nothing new for a while (POST only); it has no number of its own."""

    stream: str
    seq: int


class Done(Struct, frozen=True, tag_field="type", tag="done"):
    """The end of a reply."""

    stream: str
    seq: int
    reason: Literal["stop", "length", "tool_calls", "cancelled"]
    model: str = ""
    usage: Usage = Usage()
    timings: Timings = Timings()
    cut_by: str = ""
    """The stop string that ended it."""


class Failed(Struct, frozen=True, tag_field="type", tag="error"):
    """The end of a reply that failed; or, with seq 0, why a frame was refused."""

    stream: str
    seq: int
    error: Fault


class Answer(Struct, frozen=True):
    """What POST /api/reply answers without `stream`."""

    stream: str
    text: str
    reason: Literal["stop", "length", "tool_calls", "cancelled"]
    reasoning: str = ""
    model: str = ""
    usage: Usage = Usage()
    timings: Timings = Timings()
    cut_by: str = ""
    tool: str = ""
    """Calls of tools, a line of JSON each."""


FromProgram = Start | Cancel | Resume
ToProgram = Started | Delta | Replace | Waiting | Done | Failed


def schema() -> Mapping[str, Any]:
    """The JSON Schema of all frames and bodies."""
    kinds = (FromProgram, ToProgram, Generate, Answer)
    roots, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    names = ("from_program", "to_program", "generate", "answer")
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "version": VERSION}
    return {**about, "properties": dict(zip(names, roots, strict=True)), "$defs": components}


FRAMES = " Known: start, cancel, resume."


def read(text: str | bytes, kind: Any) -> Any:
    """A frame or a body; raises Problem, which names the field."""
    return decoded(text, kind, FRAMES)
