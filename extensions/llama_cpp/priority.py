"""The order in which samplers work: the user's where there is one, else llama.cpp's own."""

from collections.abc import Sequence

from extensions.engine_kit.api import neutral
from kernel.contract import Sampling

NAMES = {
    "repetition_penalty": "penalties", "presence_penalty": "penalties",
    "frequency_penalty": "penalties", "typical_p": "typ_p", "dynamic_temperature": "temperature",
    "smoothing_factor": "quadratic_sampling", "no_repeat_ngram": "no_repeat_ngram_size",
    "encoder_repetition": "encoder_repetition_penalty",
}  # fmt: skip
"""What `sampler_priority` calls differently, or in several ways."""
HEAT = ("quadratic_sampling", "temperature")
"""What `temperature_last` moves to the end."""


def order(sampling: Sampling, known: Sequence[str]) -> list[str]:
    """The samplers of `known`, ordered; what the user's list does not name stays at the front."""
    given: Sequence[str] = neutral(sampling, "sampler_priority")
    wished = [NAMES.get(name, name) for name in given]
    wished = [name for name in dict.fromkeys(wished) if name in known]
    names = [name for name in known if name not in wished] + wished
    if neutral(sampling, "temperature_last"):
        names.sort(key=lambda name: name in HEAT)
    return names
