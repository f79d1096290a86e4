"""The order in which samplers work."""

from collections.abc import Mapping, Sequence

from extensions.engine_kit.requests import neutral
from kernel.contract import Sampling

ALIASES = {
    "smoothing_factor": "quadratic_sampling", "no_repeat_ngram": "no_repeat_ngram_size",
    "encoder_repetition": "encoder_repetition_penalty",
}  # fmt: skip
"""What `sampler_priority` calls in several ways."""
HEAT = ("quadratic_sampling", "temperature", "dynamic_temperature")
"""What `temperature_last` moves to the end."""


def in_order(
    sampling: Sampling, known: Sequence[str], called: Mapping[str, str] | None = None
) -> list[str]:
    """The samplers of `known` as the user orders them; what the user's list does not name stays at
    the front. `called`: what an engine calls otherwise."""
    names = {**ALIASES, **(called or {})}
    given: Sequence[str] = neutral(sampling, "sampler_priority")
    wished = [names.get(name, name) for name in given]
    wished = [name for name in dict.fromkeys(wished) if name in known]
    found = [name for name in known if name not in wished] + wished
    if neutral(sampling, "temperature_last"):
        found.sort(key=lambda name: name in HEAT)
    return found
