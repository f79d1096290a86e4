"""What llama.cpp's server answers."""

from collections.abc import Iterable
from typing import Any

import msgspec

from extensions.api_kit.api import Run
from kernel.api import Finish, Token

LEAST = -9999.0
"""JSON has no infinity."""


class Timings(msgspec.Struct, frozen=True):
    """How fast it was."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class Completed(msgspec.Struct, frozen=True):
    """The answer of /completion, and the last event of its stream."""

    index: int
    content: str
    tokens: list[int]
    stop: bool
    id_slot: int
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    tokens_cached: int
    generation_settings: dict[str, Any]
    truncated: bool
    stop_type: str
    stopping_word: str
    has_new_line: bool
    timings: Timings
    completion_probabilities: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


def completed(
    index: int, run: Run, text: str, tokens: list[Token], *, whole: bool, ids: bool, probs: bool
) -> Completed:
    """How a reply ended; `whole` with its words, else the last event after them."""
    finish = run.finish
    return Completed(
        index=index,
        content=text if whole else "",
        tokens=[token.id for token in tokens] if whole and ids else [],
        stop=True,
        id_slot=index,
        model=run.model,
        tokens_predicted=finish.usage.completion,
        tokens_evaluated=finish.usage.prompt,
        tokens_cached=finish.usage.cached,
        generation_settings={**msgspec.to_builtins(run.wish.sampling), "seed": run.seed},
        truncated=False,
        stop_type=stop_type(finish),
        stopping_word=finish.cut_by,
        has_new_line="\n" in text,
        timings=timings_of(finish),
        completion_probabilities=likely(tokens) if whole and probs else msgspec.UNSET,
    )


def stop_type(finish: Finish) -> str:
    """Why it ended, by llama.cpp's words."""
    if finish.reason == "length":
        return "limit"
    if finish.cut_by:
        return "word"
    return "eos" if finish.reason == "stop" else "none"


def timings_of(finish: Finish) -> Timings:
    """Seconds as milliseconds and rates."""
    usage, spent = finish.usage, finish.timings
    read, wrote = max(0, usage.prompt - usage.cached), usage.completion
    return Timings(
        cache_n=usage.cached,
        prompt_n=read,
        prompt_ms=round(spent.prompt * 1000, 3),
        prompt_per_token_ms=round(spent.prompt * 1000 / read, 3) if read else 0.0,
        prompt_per_second=round(read / spent.prompt, 3) if spent.prompt else 0.0,
        predicted_n=wrote,
        predicted_ms=round(spent.completion * 1000, 3),
        predicted_per_token_ms=round(spent.completion * 1000 / wrote, 3) if wrote else 0.0,
        predicted_per_second=round(wrote / spent.completion, 3) if spent.completion else 0.0,
    )


def likely(tokens: Iterable[Token]) -> list[dict[str, Any]]:
    """How likely tokens were, and what else might have come."""
    return [
        {
            "id": token.id,
            **weighed(token.bytes, token.logprob),
            "top_logprobs": [weighed(data, logprob) for data, logprob in token.top],
        }
        for token in tokens
    ]


def weighed(data: bytes, logprob: float | None) -> dict[str, Any]:
    """Half a letter is shown as a sign that stands for it."""
    return {
        "token": data.decode(errors="replace"),
        "bytes": [*data],
        "logprob": LEAST if logprob is None else max(logprob, LEAST),
    }
