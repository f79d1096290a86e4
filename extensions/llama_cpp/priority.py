"""The order in which samplers work: the user's where there is one, else llama.cpp's own."""

from collections.abc import Sequence

from extensions.engine_kit.api import in_order
from kernel.contract import Sampling

NAMES = {
    "repetition_penalty": "penalties", "presence_penalty": "penalties",
    "frequency_penalty": "penalties", "typical_p": "typ_p", "dynamic_temperature": "temperature",
}  # fmt: skip
"""What llama.cpp calls differently, or has in one."""


def order(sampling: Sampling, known: Sequence[str]) -> list[str]:
    """The samplers of `known`, ordered; what the user's list does not name stays at the front."""
    return in_order(sampling, known, NAMES)
