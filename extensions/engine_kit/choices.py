"""What may come next after a text: probabilities before and after samplers, as engines tell it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kernel.contract import Refused, Request, Sampling

MOST = 100_000
"""Tokens that are told at most; no vocabulary that people read is larger."""


def question_of(
    *,
    text: str | None = None,
    token_ids: Sequence[int] | None = None,
    sampling: Mapping[str, Any] | None = None,
    **_: Any,
) -> Request:
    """The question as a request for a token; `sampling` as `Sampling` is encoded."""
    if (text is None) == (token_ids is None):
        raise Refused("Ask about either a text or token ids.")
    ids = None if token_ids is None else tuple(token_ids)
    return Request(
        prompt=text,
        token_ids=ids,
        sampling=msgspec.convert(dict(sampling or {}), Sampling, strict=False),
    )


def told(
    before: Any,
    after: Any,
    cut_by: Mapping[int, str],
    piece: Callable[[int], bytes],
    best: Callable[[Any, int], Iterable[int]],
    top: int,
) -> dict[str, Any]:
    """The answer of `call("logits", …)`: the likeliest `top` before and after the samplers, each
    with the bytes it stands for and the sampler that took it out; `best` finds them in a row of
    whatever kind of array the engine has."""
    top = max(1, min(top, len(before), MOST))
    left = [id for id in best(after, top) if after[id] > 0]
    ids = dict.fromkeys([*left, *best(before, top)])
    tokens = [
        {
            "id": id,
            "bytes": piece(id),
            "before": float(before[id]),
            "after": float(after[id]),
            "cut_by": cut_by.get(id, ""),
        }
        for id in map(int, ids)
    ]
    return {"tokens": tokens, "reasons": True}
