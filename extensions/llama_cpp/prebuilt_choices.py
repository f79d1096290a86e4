"""What the prebuilt engine's own server says of tokens: their pieces, and which may come next."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

Ask = Callable[..., Any]
"""`ask(path, **data)`: a question to the server."""
Hear = Callable[..., Iterable[Mapping[str, Any]]]
"""`hear(**data)`: a completion of the server, piece by piece."""


def described(
    ask: Ask, text: str, beginning: bool, special: Collection[int]
) -> list[tuple[int, bytes, bool]]:
    """Each token of a text, its bytes, and whether it is one of those that are `special`."""
    said = ask("/tokenize", content=text, add_special=beginning, with_pieces=True)["tokens"]
    found: list[tuple[int, bytes, bool]] = []
    for each in said:
        piece = each["piece"]
        data = piece.encode() if isinstance(piece, str) else bytes(piece)
        found.append((each["id"], data, each["id"] in special))
    return found


def choices(hear: Hear, given: Mapping[str, Any], top: int) -> dict[str, Any]:
    """The likeliest tokens before the samplers and after them; who cut what it does not say.

    After them some may be among the likeliest that were not before, which it says nothing of.
    """
    given = {**given, "n_predict": 1, "n_probs": top, "cache_prompt": True}
    before = likeliest(hear(**given))
    after = likeliest(hear(**given, post_sampling_probs=True))
    tokens = [
        {
            "id": id,
            "bytes": piece,
            "before": before.get(id, (piece, 0.0))[1],
            "after": after.get(id, (piece, 0.0))[1],
            "cut_by": "",
        }
        for id, (piece, _) in {**before, **after}.items()
    ]
    return {"tokens": tokens, "reasons": False}


def likeliest(chunks: Iterable[Mapping[str, Any]]) -> dict[int, tuple[bytes, float]]:
    """Of the first token: each alternative's bytes and probability."""
    said = [each for chunk in chunks for each in chunk.get("completion_probabilities", ())]
    first = said[0] if said else {}
    found = {each["id"]: (bytes(each["bytes"]), math.exp(each["logprob"]))
             for each in first.get("top_logprobs", ())}  # fmt: skip
    return found or {
        each["id"]: (bytes(each["bytes"]), float(each["prob"]))
        for each in first.get("top_probs", ())
        if each["prob"] > 0
    }
