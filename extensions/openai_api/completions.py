"""POST /v1/completions: what is asked, as wishes for the continuations of texts."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from extensions.api_kit.api import (
    ALIASES,
    Asked,
    Call,
    Programs,
    Wish,
    converted,
    filled,
    read,
    refused,
    times,
)
from kernel.api import Meta, Struct, Token

from .chat import Few, Many, Rest, StreamOptions
from .extras import with_preset
from .format import Constraint, Str
from .scoring import scored

LIMIT = 512
"""Tokens of a continuation where the request says nothing, as text-generation-webui has it."""
MOST = 256
"""Continuations of one request."""
Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]
FOREIGN = (
    "mode", "character", "bot_name", "name2", "context", "greeting", "user_name", "name1",
    "user_bio", "instruction_template", "instruction_template_str", "chat_template_str",
    "chat_instruct_command", "continue_", "custom_system_message", "messages", "tools",
)  # fmt: skip
"""Fields of conversations, which a plain text has no place for."""


class Body(Constraint, kw_only=True):
    """The body; sampling fields have the names of docs/parameters.md and OpenAI's."""

    prompt: str | list[str | Id | list[Id]]
    model: Str = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Many | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: Str = None
    logprobs: Few | None = None
    preset: Str = None


class Text(Struct, frozen=True):
    """One prompt, and what of it stands before its continuations."""

    prompt: str | tuple[int, ...]
    echoed: str = ""
    scores: tuple[Token, ...] = ()


class Asks(Struct, frozen=True):
    """What a body asks for: `wishes` has `n` for each text, and none where only the texts
    themselves are wanted."""

    body: Body
    texts: tuple[Text, ...]
    wishes: tuple[Wish, ...]


async def asked(rest: Rest, call: Call) -> Asks:
    """The body, and wishes for its replies, for the model that it wants; raises Problem."""
    said: Mapping[str, Any] = read(call.body, dict[str, Any])
    body: Body = converted(said, Body)
    check(body, said)
    programs = rest.programs
    await rest.want(call, body.model or "")
    prompts = prompts_of(body.prompt)
    if (body.n or 1) * len(prompts) > MOST:
        says = f"prompt: This asks for more than {MOST} texts at once. Send several requests."
        raise refused(says, "prompt", "invalid_value")
    silent = nothing_new(said)
    if silent and not body.echo:
        says = "max_tokens: 0 asks for no words, and only echo makes an answer of that."
        raise refused(says, "max_tokens", "invalid_value")
    sampling = programs.sampling({**said, **limit(said)})
    wish = Wish(
        sampling=await with_preset(rest.parameters, body.preset, sampling),
        asked=Asked(grammar=body.constraint(), logprobs=body.logprobs),
    )
    check_ids(programs, prompts)
    if body.suffix and not isinstance(body.prompt, str):
        raise refused("suffix: It needs a prompt that is one text.", "suffix", "invalid_value")
    texts = [await text_of(programs, call, body, prompt) for prompt in prompts]
    wishes = [each for text in texts for each in times(wish_of(wish, text), body.n or 1)]
    return Asks(body, (*texts,), () if silent else (*wishes,))


def check(body: Body, said: Mapping[str, Any]) -> None:
    """Refuse what cannot be done, by its name."""
    if body.best_of not in (None, 1, body.n or 1):
        says = "best_of: Spindle answers with all texts it writes. Leave it out, or send the same "
        raise refused(says + "number as n.", "best_of", "unsupported_value")
    for name in FOREIGN:
        if said.get(name):
            says = f"{name}: A plain completion has no place for it. Send messages to "
            raise refused(says + "/v1/chat/completions.", name, "unsupported_parameter")


def prompts_of(prompt: str | list[Any]) -> list[str | tuple[int, ...]]:
    """Each prompt as a text or as its tokens."""
    if isinstance(prompt, str):
        return [prompt]
    if prompt and all(isinstance(each, int) for each in prompt):
        return [tuple(prompt)]
    wrong = next((n for n, each in enumerate(prompt) if not each and each != ""), None)
    if wrong is not None or not prompt or any(isinstance(each, int) for each in prompt):
        where = "prompt" if wrong is None else f"prompt[{wrong}]"
        says = f"{where}: Expected a text, a list of texts, tokens, or a list of lists of tokens."
        raise refused(says, where, "invalid_value")
    return [each if isinstance(each, str) else tuple(each) for each in prompt]


def check_ids(programs: Programs, prompts: Sequence[str | tuple[int, ...]]) -> None:
    """Tokens that the model does not have are no prompt of its."""
    info = programs.info()
    most = info.vocabulary_size if info else 0
    for prompt in prompts:
        worst = max(prompt, default=0) if most and not isinstance(prompt, str) else 0
        if not isinstance(worst, str) and worst >= most > 0:
            says = f"prompt: {worst} is no token of this model, whose tokens are 0 to {most - 1}."
            raise refused(says, "prompt", "invalid_value")


def nothing_new(said: Mapping[str, Any]) -> bool:
    """Whether no new words are wanted."""
    names = ("max_new_tokens", *ALIASES["max_new_tokens"])
    first = next((said[name] for name in names if said.get(name) is not None), None)
    return first == 0 and not isinstance(first, bool)


def limit(said: Mapping[str, Any]) -> dict[str, int]:
    """The usual limit, where the request has none."""
    names = ("max_new_tokens", *ALIASES["max_new_tokens"], "auto_max_new_tokens")
    return {} if any(said.get(name) is not None for name in names) else {"max_tokens": LIMIT}


async def text_of(
    programs: Programs, call: Call, body: Body, prompt: str | tuple[int, ...]
) -> Text:
    """A prompt, with what is told of it where it is echoed."""
    scores: list[Token] = []
    echoed = ""
    if body.echo:
        echoed = prompt if isinstance(prompt, str) else await programs.text(prompt)
    if body.echo and body.logprobs is not None:
        scores = await scored(programs, call, prompt, body.logprobs)
    if body.suffix and isinstance(prompt, str):
        prompt = await filled(programs, prompt, body.suffix)
    return Text(prompt, echoed, (*scores,))


def wish_of(wish: Wish, text: Text) -> Wish:
    """The wish for its continuation."""
    if isinstance(text.prompt, str):
        return msgspec.structs.replace(wish, prompt=text.prompt)
    told = msgspec.structs.replace(wish.asked, token_ids=text.prompt)
    return msgspec.structs.replace(wish, asked=told)
