"""How likely the prompt itself is, for `echo` with `logprobs`."""

import asyncio
from collections.abc import Sequence
from typing import Any

from extensions.api_kit.api import Call, Problem, Programs, refused
from kernel.api import Token

UNABLE = (
    "echo: With logprobs it needs the likelihood of the prompt's own tokens, which {} in {} does "
    "not tell ({}). Leave one of the two out, or load a GGUF form with llama.cpp's native engine."
)


async def scored(
    programs: Programs, call: Call, prompt: str | Sequence[int], top: int
) -> list[Token]:
    """The tokens of a prompt, each with how likely it was after those before it; raises Problem."""
    asked: dict[str, Any] = {"text": prompt}
    if not isinstance(prompt, str):
        asked = {"token_ids": [*prompt]}
    try:
        found = await programs.metered(call, "scores", [prompt], param="prompt", top=top, **asked)
    except Problem as problem:
        if problem.fault.code not in ("unsupported", "engine_refused"):
            raise
        info = programs.model().info
        says = UNABLE.format(info.name, info.loader, problem.fault.message.rstrip("."))
        raise refused(says, "echo", "unsupported_value") from None
    ids: list[int] = found["token_ids"]
    following: list[list[Any]] = [[], *found["top"]]
    every = {*ids, *(id for row in following for id, _ in row)}
    said = dict(zip(every, await asyncio.gather(*map(programs.piece, every)), strict=True))
    return [
        Token(id, said[id], logprob, tuple((said[other], value) for other, value in row))
        for id, logprob, row in zip(ids, found["logprobs"], following, strict=False)
    ]
