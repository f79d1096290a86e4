"""Logits processors of extensions: code by name, built in the worker, one of each a request.

A processor is a class: `Class(**params)`, then `processor(tokens, logits)` before each token, with
the prompt and the reply so far and the logits of all tokens, both numpy arrays. It changes the
logits in place, or answers others of the same shape.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernel.contract import Processor, Refused
from kernel.worker_host import load_code


class Processors:
    """Those of one request, in its order."""

    def __init__(self, wanted: Sequence[Processor]) -> None:
        self._named = [(each.code, build(each)) for each in wanted]

    @property
    def any(self) -> bool:
        return bool(self._named)

    def __call__(self, tokens: Any, logits: Any) -> Any:
        for code, processor in self._named:
            try:
                answer = processor(tokens, logits)
            except Exception as error:
                raise Refused(f"{name(code)} failed: {type(error).__name__}: {error}") from error
            logits = logits if answer is None else good(code, answer, logits)
            if np.isnan(logits.max()):
                raise Refused(f"{name(code)} left logits that are no numbers.")
        return logits


def build(wanted: Processor) -> Any:
    try:
        return load_code(wanted.code)(**wanted.params)
    except Exception as error:
        raise Refused(
            f"{name(wanted.code)} cannot be made: {type(error).__name__}: {error}"
        ) from error


def good(code: str, answer: Any, logits: Any) -> Any:
    answer = np.asarray(answer, np.float32)
    if answer.shape != logits.shape:
        raise Refused(f"{name(code)} answered {answer.shape} instead of {logits.shape} logits.")
    return answer


def name(code: str) -> str:
    return "The logits processor " + code.rpartition("/")[2].rpartition("\\")[2]
