"""What programs of llama.cpp's server ask for, as wishes for replies."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import structs

from extensions.api_kit.api import (
    Asked,
    Call,
    Programs,
    Wish,
    converted,
    read,
    refused,
)
from kernel.api import UNSET, Meta

Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Bool = bool | None
DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repetition_penalty_range": 64,
}  # fmt: skip
"""llama.cpp's, where a request does not say."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "penalties": ("repetition_penalty", "presence_penalty", "frequency_penalty"),
    "typ_p": ("typical_p",), "typical": ("typical_p",), "tfs_z": ("tfs",),
    "top_sigma": ("top_n_sigma",), "temperature": ("temperature", "dynamic_temperature"),
}  # fmt: skip
"""What llama.cpp's `samplers` calls differently."""
LETTERS = {
    "e": "penalties", "d": "dry", "k": "top_k", "y": "typ_p", "p": "top_p", "m": "min_p",
    "t": "temperature", "x": "xtc", "s": "top_n_sigma", "a": "adaptive_p",
}  # fmt: skip
"""The same in one word: `edskypmxt`."""


class Whole(msgspec.Struct):
    """A prompt as an object, which may hold more than words."""

    prompt_string: str
    multimodal_data: list[Any] | None = None


MOST = 256
"""Prompts that one request may have, as with OpenAI's."""
Prompt = str | list[Any] | dict[str, Any]


class Adapter(msgspec.Struct):
    """An adapter by its number."""

    id: int
    scale: float = 0.0


class Completion(msgspec.Struct):
    """The body; sampling fields have llama.cpp's names, or those of docs/parameters.md."""

    prompt: Prompt
    stream: Bool = None
    n_predict: int | None = None
    samplers: str | list[str] | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    n_probs: Annotated[int, Meta(ge=0, le=20)] | None = None
    post_sampling_probs: Bool = None
    cache_prompt: Bool = None
    """An engine always looks for what it knows of a prompt."""
    return_tokens: Bool = None
    lora: list[Adapter] | None = None


async def asked(programs: Programs, call: Call) -> tuple[Completion, list[Wish], bool]:
    """The body, a wish for each prompt, and whether several were asked for; raises Problem."""
    said: Mapping[str, Any] = read(call.body or b"{}", dict[str, Any])
    body = converted(said, Completion)
    if body.post_sampling_probs:
        says = "post_sampling_probs: Spindle tells the model's own. Leave it out."
        raise refused(says, "post_sampling_probs", "unsupported_value")
    if body.n_predict == 0:
        says = "n_predict: A reply of no tokens is none. Ask for 1, or leave it out."
        raise refused(says, "n_predict", "invalid_value")
    if any(each.scale for each in body.lora or ()):
        says = "lora: Adapters have no numbers here. Choose them when the model is loaded."
        raise refused(says, "lora", "unsupported_value")
    schema = msgspec.json.encode(body.json_schema).decode() if body.json_schema else ""
    ask = Asked(grammar=body.grammar or schema, logprobs=told(body))
    given = programs.sampling(said, sampler_priority=order_of(body.samplers))
    more = {name: value for name, value in DEFAULTS.items() if getattr(given, name) is UNSET}
    wish = Wish(sampling=structs.replace(given, **more), asked=ask)
    prompts, several = split(body.prompt)
    return body, [await wished(programs, wish, each) for each in prompts], several


def told(body: Completion) -> int | None:
    """How many alternatives the engine tells of each token; 0: the token alone."""
    return body.n_probs or (0 if body.return_tokens else None)


def order_of(samplers: str | Sequence[str] | None) -> list[str] | None:
    """The order of the samplers by Spindle's names."""
    if isinstance(samplers, str):
        samplers = [LETTERS.get(each, each) for each in samplers]
    found = [name for each in samplers or () for name in NAMES.get(each, (each,))]
    return found or None


def split(prompt: Prompt) -> tuple[list[Any], bool]:
    """The prompts there are: of a list each text and each list is one, unless it holds tokens."""
    if not isinstance(prompt, list):
        return [prompt], False
    if any(isinstance(each, int) for each in prompt):
        return [prompt], False
    if not prompt:
        raise refused("prompt: The list is empty. Send a text.", "prompt", "empty_array")
    if len(prompt) > MOST:
        says = f"prompt: This asks for more than {MOST} texts at once. Send several requests."
        raise refused(says, "prompt", "invalid_value")
    return prompt, True


async def wished(programs: Programs, wish: Wish, prompt: Any) -> Wish:
    """A wish for what follows one prompt: words, or tokens, or both in a list."""
    if isinstance(prompt, dict):
        whole = converted(prompt, Whole, "prompt")
        if whole.multimodal_data:
            says = "prompt.multimodal_data: A plain text cannot hold pictures. "
            says += "Use /v1/chat/completions."
            raise refused(says, "prompt.multimodal_data", "unsupported_value")
        prompt = whole.prompt_string
    pieces = converted(prompt, str | list[Id | str], "prompt")
    if isinstance(pieces, str):
        return structs.replace(wish, prompt=pieces)
    tokens = list[int]()
    for number, piece in enumerate(pieces):
        if isinstance(piece, int):
            tokens.append(piece)
        else:
            tokens += await programs.tokens(piece, special=number == 0)
    if not tokens:
        raise refused("prompt: There is no token in it. Send a text.", "prompt", "empty_array")
    programs.known(tokens, "prompt")
    return structs.replace(wish, asked=structs.replace(wish.asked, token_ids=tuple(tokens)))
