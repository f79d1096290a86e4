"""What Kobold's programs ask for, as a wish for replies."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import structs

from extensions.api_kit.api import Asked, Call, Wish, converted, pictures_of, read, refused
from kernel.api import UNSET, Meta, ModelInfo, Sampling, Struct

from .placeholders import Marks, holds

Str = str | None
Bool = bool | None
OWN = frozenset({
    "max_length", "max_context_length", "rep_pen", "rep_pen_range", "rep_pen_slope", "genkey",
    "sampler_order", "quiet", "memory", "stop_sequence", "trim_stop", "use_default_badwordsids",
    "frmttriminc", "frmtrmblln", "use_story", "use_memory", "use_world_info", "use_authors_note",
    "singleline", "banned_tokens", "bypass_eos", "render_special",
    "replace_instruct_placeholders",
})  # fmt: skip
"""Fields that Kobold's programs send and no others do."""
DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.75, "top_p": 0.92, "top_k": 100, "repetition_penalty_range": 360,
}  # fmt: skip
"""KoboldCpp's, where a request does not say."""
ORDER = (
    ("top_k",), ("top_a",), ("top_p", "min_p"), ("tfs",), ("typical_p",),
    ("temperature", "dynamic_temperature", "quadratic_sampling"),
    ("repetition_penalty", "presence_penalty", "frequency_penalty", "dry"),
)  # fmt: skip
"""The samplers that the numbers of `sampler_order` stand for."""


class Generate(msgspec.Struct):
    """The body; sampling fields have KoboldCpp's names, or those of docs/parameters.md."""

    prompt: str
    memory: Str = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    genkey: Annotated[str, Meta(max_length=1000)] | None = None
    trim_stop: Bool = None
    grammar: Str = None
    sampler_order: list[Annotated[int, Meta(ge=0, le=6)]] | None = None
    banned_tokens: list[str] | None = None
    use_default_badwordsids: Bool = None
    ban_eos_token: Bool = None
    bypass_eos: Bool = None
    render_special: Bool = None
    singleline: Bool = None
    images: list[str] | None = None
    """In base64; the model sees them between memory and prompt."""
    replace_instruct_placeholders: Bool = None
    """Whether placeholders as {{[INPUT]}} become the marks of the model's turns; true."""
    quiet: Bool = None
    """Nothing of a prompt is ever logged."""


BANS = (
    "banned_tokens: {} cannot keep words out of a reply. Leave this out, or let llama.cpp's native "
    "engine run a GGUF model (Settings, llama.cpp)."
)


BLIND = (
    "images: {} sees no pictures. Leave them out, or load a model with the file (mmproj) that it "
    "sees with."
)


class Known(Struct, frozen=True):
    """What is known where a body is read."""

    length: int
    """Tokens of a reply, by default."""
    model: ModelInfo | None
    bans: bool
    """Whether the model can keep words out of a reply."""
    sampling: Callable[..., Sampling]
    """Reads sampling fields: `Programs.sampling`."""
    marks: Callable[[], Awaitable[Marks]]
    """Finds the marks of the model's turns."""


def body_of(call: Call) -> tuple[Mapping[str, Any], Generate]:
    """All that was said, and what of it has a place of its own; raises Problem."""
    said: Mapping[str, Any] = read(call.body or b"{}", dict[str, Any])
    return said, converted(said, Generate)


async def wish_of(said: Mapping[str, Any], body: Generate, known: Known) -> Wish:
    """The wish for one reply; raises Problem."""
    images, memory = pictures_of(body.images, "images"), body.memory or ""
    if images and known.model and "images" not in known.model.capabilities:
        says = BLIND.format(known.model.name)
        raise refused(says, "images", "unsupported_value")
    prompt, how = memory + body.prompt, sampling(said, body, known)
    stops = () if how.custom_stopping_strings is UNSET else how.custom_stopping_strings
    if body.replace_instruct_placeholders is not False and any(map(holds, (prompt, *stops))):
        marks = await known.marks()
        prompt = marks.filled(prompt)
        if stops:
            how = structs.replace(how, custom_stopping_strings=marks.stops(stops))
    more = Asked(
        grammar=body.grammar or "",
        images=images,
        images_at=len(memory) if prompt.startswith(memory) else 0,
    )
    return Wish(prompt=prompt, sampling=how, asked=more)


def sampling(said: Mapping[str, Any], body: Generate, known: Known) -> Sampling:
    """How the next token is chosen."""
    given = known.sampling(said, sampler_priority=order_of(body, known.model))
    found = {**DEFAULTS, "max_new_tokens": known.length}
    more = {name: value for name, value in found.items() if getattr(given, name) is UNSET}
    stops = () if given.custom_stopping_strings is UNSET else given.custom_stopping_strings
    if body.singleline:
        more["custom_stopping_strings"] = (*stops, "\n")
    if body.ban_eos_token is None and (body.use_default_badwordsids or body.bypass_eos):
        more["ban_eos_token"] = True
    if body.render_special:
        more["skip_special_tokens"] = False
    if banned := tuple(each for each in body.banned_tokens or () if each):
        if known.model and not known.bans:
            says = BANS.format(known.model.name)
            raise refused(says, "banned_tokens", "unsupported_parameter")
        extra = {} if given.extra is UNSET else given.extra
        more["extra"] = {**extra, "banned_strings": banned}
    return structs.replace(given, **more)


def order_of(body: Generate, info: ModelInfo | None) -> list[str] | None:
    """The order of the samplers by their names; what Kobold has no number for comes last."""
    if not body.sampler_order or (info and "sampler_priority" not in info.samplers):
        return None
    return [name for number in body.sampler_order for name in ORDER[number]]
