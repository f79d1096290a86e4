"""How likely a whole text is, token by token: what perplexity is made of."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from extensions.llama_cpp.api import Adapters
from extensions.llamacpp_hf.beside import Beside
from kernel.contract import Refused, Report

CHUNK = 64
"""Tokens that are read in one step: the scores of all of them take room."""


def of_text(
    beside: Beside,
    ids: Sequence[int],
    top: int,
    adapters: Adapters,
    report: Report,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """`logprobs` of each token after those before it (None for the first), and after each token
    the `top` likeliest that may follow, as pairs of id and logprob."""
    if not 1 <= len(ids) <= beside.context.cells:
        raise Refused(
            f"The text has {len(ids):,} tokens, and the context of this model "
            f"{beside.context.cells:,}. Read it in parts."
        )
    line = beside.open(ids, adapters)
    logprobs: list[float | None] = [None]
    following: list[list[tuple[int, float]]] = []
    batch = beside.context.batch
    try:
        while line.past < len(ids) and not cancelled():
            part = np.array(ids[line.past : line.past + CHUNK], np.int32)
            batch.used = 0
            batch.extend(part, line.past, line.sequence, last=True)
            batch.outputs[: len(part)] = 1
            if not beside.carried_out(line):
                continue
            rows = np.stack([beside.context.logits(row) for row in range(len(part))])
            found = torch.from_numpy(rows).log_softmax(-1, dtype=torch.float64)
            line.past += len(part)
            for row, next_ in zip(
                found, ids[line.past - len(part) + 1 : line.past + 1], strict=False
            ):
                logprobs.append(float(row[next_]))
            best = found.topk(min(top, found.shape[-1]))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            following += [list(zip(*pair, strict=True)) for pair in pairs]
            report(line.past / len(ids), "Reading the text")
    finally:
        beside.close(line)
    return {"token_ids": list(ids), "logprobs": logprobs, "top": following if top else []}
