"""How a reply is asked for, over the socket and by one request."""

from typing import Annotated, Any

import msgspec

from extensions.api_kit.api import Asked as Past
from extensions.api_kit.api import Wish, refused, times
from kernel.api import Message, Meta, Part, Role, Sampling, Struct, Text

VERSION = 1

Id = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._~-]{1,64}$",
        description="A name of the program's choice for one reply, best a random one.",
    ),
]


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
    grammar: str | dict[str, Any] = ""
    """What the reply has to follow: GBNF, or a JSON schema (as it is, or as text)."""
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """Tell each token and its log probability, and so many alternatives."""
    n: Annotated[int, Meta(ge=1, le=16)] = 1
    """Replies to the same, told apart by `choice`."""
    version: Annotated[int, Meta(ge=1, le=VERSION)] = VERSION

    def wishes(self) -> list[Wish]:
        """What is wanted of the model; raises Problem when there is nothing to answer."""
        if (self.prompt is None) == (not self.messages):
            raise refused("Give either messages or a prompt.", "messages")
        messages = tuple(said.message() for said in self.messages)
        last = messages[-1].role if messages else ""
        if self.continue_ and last != "assistant":
            raise refused("Only a last message of the assistant can be continued.", "continue")
        grammar = self.grammar
        if not isinstance(grammar, str):
            grammar = msgspec.json.encode(grammar).decode()
        wish = Wish(
            messages=messages,
            prompt=self.prompt,
            mode=self.mode,
            options=self.options,
            called={option: f"options.{option}" for option in self.options},
            sampling=self.sampling,
            tools=self.tools,
            adapters=self.adapters,
            continue_=self.continue_,
            asked=Past(grammar=grammar, logprobs=self.logprobs),
        )
        return times(wish, self.n)


class Start(Asked, frozen=True, kw_only=True, tag_field="type", tag="start"):
    """Begin a reply; it is called `id` from now on."""

    id: Id
    linger: Annotated[float, Meta(ge=0, le=3600)] | None = None
    """Seconds that it goes on when nobody reads it; without it, what the settings say."""


class Generate(Asked, frozen=True, kw_only=True):
    """The body of POST /api/reply."""

    id: Id | None = None
    stream: bool = False
    """Answer with one JSON event a line instead of one answer at the end."""
