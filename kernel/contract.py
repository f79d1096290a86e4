"""The plain data that flows through Spindle and crosses to workers: stdlib and msgspec only.

Every struct is frozen and fields are only ever added. Nothing here is ever pickled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from msgspec import UNSET, Meta, UnsetType

from kernel.failures import EngineFailed, Refused
from kernel.sampling import Processor, Sampling, Struct, built, parameters

__all__ = [
    "UNSET", "Audio", "Channel", "Delta", "Engine", "EngineFailed", "Finish", "Image",
    "Mark", "Message", "Meta", "ModelInfo", "Output", "Part", "Processor", "Reason",
    "Reasoning", "Refused", "Report", "Request", "Role", "Sampling", "Struct", "Text",
    "Timings", "Token", "ToolCall", "ToolResult", "Turn", "UnsetType", "Usage", "built",
    "parameters",
]  # fmt: skip

# --- messages ---------------------------------------------------------------------------


class Text(Struct, frozen=True, tag_field="type", tag="text"):
    """Words."""

    text: str


class Reasoning(Struct, frozen=True, tag_field="type", tag="reasoning"):
    """What a model thought before it answered."""

    text: str


class Image(Struct, frozen=True, tag_field="type", tag="image"):
    """A picture, encoded as its media type says; its size in dots where that is known."""

    data: bytes
    media_type: str
    size: tuple[int, int] = (0, 0)


class Audio(Struct, frozen=True, tag_field="type", tag="audio"):
    """A recording, encoded as its media type says."""

    data: bytes
    media_type: str


class ToolCall(Struct, frozen=True, tag_field="type", tag="tool_call"):
    """A function the model wants called; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


class ToolResult(Struct, frozen=True, tag_field="type", tag="tool_result"):
    """What a called function answered."""

    id: str
    content: str


Part = Text | Reasoning | Image | Audio | ToolCall | ToolResult
Role = Literal["system", "user", "assistant", "tool"]


class Message(Struct, frozen=True):
    """One message of a conversation."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))


# --- a turn, a request, a reply ---------------------------------------------------------


@built
class Turn(Struct, frozen=True):
    """What a client asks for, before a mode makes a `Request` of it."""

    messages: tuple[Message, ...] = ()
    """The user's new messages; what came before is the history."""
    mode: str = "instruct"
    conversation_id: str | None = None
    principal: str = ""
    client: str | None = None  # The page that asked, if it was one.
    sampling: Sampling = Sampling()
    tools: tuple[Mapping[str, Any], ...] = ()
    adapters: tuple[tuple[str, float], ...] = ()
    continue_: bool = False
    """Go on with the last assistant message of the history; `begun` holds its words by then."""
    begun: str = ""
    prompt: str | None = None  # A plain completion; then there is no mode.
    incognito: bool = False  # Nothing of it may be written to a disk, by whoever takes part.
    slot: str = "chat"
    options: Mapping[str, Any] = {}
    """What the mode is told beside the messages, as plain data: a character, a template …"""


@built
class Request(Struct, frozen=True):
    """What an engine is asked: exactly one of `messages`, `prompt` and `token_ids` is given."""

    slot: str = "chat"
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    token_ids: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()
    adapters: tuple[tuple[str, float], ...] = ()
    grammar: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    processors: tuple[Processor, ...] = ()
    continue_: bool = False
    """The last message is to be continued: the assistant's, or the user's in whose place it is."""
    incognito: bool = False  # An engine does not save what it remembers of it.
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """How many alternatives to report for each token; 0 reports the chosen token alone."""
    template: str = ""
    """A chat template (Jinja) in the place of the model's own."""
    template_options: Mapping[str, Any] = {}
    """Plain data that the template may read by these names, as `enable_thinking`."""

    def needs(self) -> "list[Capability]":
        """What a model has to be able to do for it."""
        parts = [part for message in self.messages or () for part in message.parts]
        wants: dict[Capability, object] = {
            "grammar": self.grammar,
            "logprobs": self.logprobs is not None,
            "lora": self.adapters,
            "processors": self.processors,
            "tools": self.tools,
            "images": any(isinstance(part, Image) for part in parts),
            "audio": any(isinstance(part, Audio) for part in parts),
        }
        return [name for name, wanted in wants.items() if wanted]


Bytes = bytes


class Token(Struct, frozen=True, array_like=True):
    """One token of a reply; `top` pairs the likeliest tokens' bytes with their logprobs."""

    id: int
    bytes: bytes
    logprob: float | None = None
    top: "tuple[tuple[Bytes, float], ...]" = ()


class Mark(Struct, frozen=True, array_like=True):
    """Colours a span of a delta's text (offsets in characters) in the page."""

    start: int
    end: int
    css_class: str
    title: str = ""


Channel = Literal["text", "reasoning", "tool"]


class Delta(Struct, frozen=True):
    """Text to append to a channel of a reply, or to `replace` all of it; `onto` does either."""

    text: str = ""
    channel: Channel = "text"
    replace: bool = False
    choice: int = 0
    tokens: tuple[Token, ...] = ()
    marks: tuple[Mark, ...] = ()

    def onto(self, text: str) -> str:
        return self.text if self.replace else text + self.text


class Usage(Struct, frozen=True):
    """Tokens read and written; `cached` of the prompt's were known already."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


class Timings(Struct, frozen=True):
    """Seconds the engine spent reading the prompt and writing the reply."""

    prompt: float = 0.0
    completion: float = 0.0


Reason = Literal["stop", "length", "tool_calls", "cancelled", "error"]


class Finish(Struct, frozen=True):
    """How a reply ended; `error` is a sentence for the user, `cut_by` the stop string.

    `refused` is None but where an error is a refusal of what was asked: then the field that asked
    for it, or "" where it was no single one.
    """

    reason: Reason
    usage: Usage = Usage()
    timings: Timings = Timings()
    cut_by: str = ""
    error: str = ""
    refused: str | None = None


# --- engines ----------------------------------------------------------------------------

Capability = Literal[
    "text", "logits", "logprobs", "grammar", "images", "audio", "embeddings", "lora", "training",
    "batch", "state", "processors", "tools",
]  # fmt: skip


@built
class ModelInfo(Struct, frozen=True):
    """What the server knows of a loaded model, so that it never needs the tokenizer itself."""

    name: str
    loader: str = ""
    slot: str = "chat"
    path: str = ""
    context_length: int = 0
    vocabulary_size: int = 0
    special_tokens: Mapping[str, int] = {}
    chat_template: str = ""
    samplers: tuple[str, ...] = ()  # Names of the `Sampling` fields it honours.
    capabilities: tuple[Capability, ...] = ("text",)
    """What it can do: who asks for anything else is refused before its engine hears of it."""
    description: str = ""
    defaults: Sampling = Sampling()
    """What the model's own files say of sampling; it applies where a request is silent."""
    together: int = 0  # How many replies it writes at once, where that is known.
    instead: Mapping[str, str] = {}
    """By what it cannot do, the sentence about what can."""

    def way(self, lacks: Sequence[str]) -> str:
        """That sentence, if one is true of all of them, else ""."""
        ways = {self.instead.get(name, "") for name in lacks}
        return ways.pop() if len(ways) == 1 else ""

    def refusal(self, lacks: Sequence[str]) -> Refused:
        """What is raised for a request that wants what it cannot do."""
        who = f"{self.name} in {self.loader}" if self.loader else self.name
        way = f". {self.way(lacks)}".rstrip(". ") or ", or load the model with another loader"
        return Refused(f"{who} cannot do this: {', '.join(lacks)}. Leave it out{way}.", lacks[0])


@built
class Output(Struct, frozen=True):
    """News of one request after a step; `progress`, the read share of its prompt (0 to 1), says at
    least that the engine lives while it reads a long one."""

    id: int
    delta: Delta | None = None
    finish: Finish | None = None
    progress: float | None = None


Report = Callable[[float, str], None]
"""`report(fraction, note)`: how far something is, 0 to 1, and what it is doing."""


class Engine(Protocol):
    """A model inside a worker, in the shape of the library's own examples: no asyncio.

    `submit` and `cancel` arrive on another thread during `poll` and must be thread-safe; `load`,
    `poll` and `call` run on one thread; names in `concurrent` run beside `poll`, which goes on.
    One may have `rest() -> bool` as well, for what can wait until nobody asks for anything: called
    then, on the thread of `poll`, for a short piece at a time until it answers False.
    """

    concurrent: Sequence[str]

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo: ...

    def submit(self, id: int, request: Request) -> None: ...

    def poll(self, timeout: float) -> Sequence[Output]:
        """Wait for the next step (at most `timeout` seconds); all its outputs at once."""
        ...

    def cancel(self, id: int) -> None: ...

    def call(
        self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any
    ) -> Any: ...
