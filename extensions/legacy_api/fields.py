"""What old programs send."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import structs

from extensions.api_kit.api import MESSAGES, Programs, refused
from extensions.parameters.api import Parameters
from kernel.api import UNSET, Meta, Refused, Sampling, Struct

Str = str | None
Bool = bool | None
Rows = list[tuple[str, str]]
OWN = frozenset({
    "max_new_tokens", "stopping_strings", "repetition_penalty", "do_sample", "add_bos_token",
    "skip_special_tokens", "truncation_length", "ban_eos_token", "penalty_alpha", "num_beams",
    "length_penalty", "early_stopping", "preset", "encoder_repetition_penalty",
})  # fmt: skip
"""Fields that its programs send to /api/v1/generate and Kobold's do not."""
DEFAULTS: Mapping[str, Any] = {
    "max_new_tokens": 200, "temperature": 0.5, "top_p": 1.0, "typical_p": 1.0, "top_k": 0,
    "repetition_penalty": 1.1, "repetition_penalty_range": 0,
}  # fmt: skip
"""As they were, where a request does not say."""
NOTHING = ("", "None")
"""How its programs write that nothing is chosen."""


class Common(msgspec.Struct, kw_only=True):
    """What all requests for words may say, beside the sampling fields."""

    preset: Str = None
    grammar_string: Str = None


class Generate(Common, kw_only=True):
    """A text that goes on."""

    prompt: str


class History(msgspec.Struct):
    """A conversation as rows of what was said and answered: as the model sees it, and as HTML."""

    internal: Annotated[Rows, MESSAGES] = []
    visible: Annotated[Rows, MESSAGES] = []


class Chat(Common, kw_only=True):
    """A conversation that goes on."""

    user_input: str
    history: History | None = None
    regenerate: Bool = None
    continue_: Bool = msgspec.field(default=None, name="_continue")
    mode: Literal["chat", "chat-instruct", "instruct"] | None = None
    character: Str = None
    your_name: Str = None
    name1: Str = None
    context: Str = None
    context_instruct: Str = None
    instruction_template: Str = None
    turn_template: Str = None
    chat_instruct_command: Str = None
    hyphenated: Str = msgspec.field(default=None, name="chat-instruct_command")
    """The same, as the oldest programs write it."""
    stop_at_newline: Bool = None

    @property
    def command(self) -> str:
        """What chat-instruct asks the model to do."""
        return self.chat_instruct_command or self.hyphenated or ""


class Count(msgspec.Struct):
    """A text whose tokens are counted."""

    prompt: str


class Encode(msgspec.Struct):
    """A text whose tokens are asked for."""

    input: str


class Decode(msgspec.Struct):
    """Tokens whose text is asked for."""

    input: list[Annotated[int, Meta(ge=0, le=2**31 - 1)]]


class Act(msgspec.Struct):
    """What is to be done with models."""

    action: Literal["info", "load", "list", "unload"]
    model_name: Str = None
    args: dict[str, Any] | None = None


class Rest(Struct, frozen=True):
    """Who is asked where a body is read."""

    programs: Programs
    parameters: Parameters

    async def sampling(self, said: Mapping[str, Any], body: Common, *stops: str) -> Sampling:
        """How the next token is chosen, a preset over it; `stops` are more texts that end a reply.
        Raises Problem."""
        given = self.programs.sampling(said)
        more = {name: value for name, value in DEFAULTS.items() if getattr(given, name) is UNSET}
        own = given.custom_stopping_strings
        if stops:
            more["custom_stopping_strings"] = (*(() if own is UNSET else own), *stops)
        sampling = structs.replace(given, **more)
        if not (preset := chosen(body.preset)):
            return sampling
        try:
            return await self.parameters.applied(preset, sampling)
        except Refused as error:
            raise refused(f"preset: {error}", "preset", "preset_not_found") from None


def chosen(name: str | None) -> str:
    """A name, if one is chosen."""
    return "" if name is None or name in NOTHING else name
