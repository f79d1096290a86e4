"""The random preset: one of each kind of parameter, with a value that is worth a try."""

from collections.abc import Container, Sequence
from random import Random
from typing import Any

from kernel.api import Sampling

Choices = Sequence[tuple[tuple[str, ...], Sequence[Any]]]
"""Parameters that go together, and their values."""
TAIL: Choices = (
    (("top_p",), (0.5, 0.8, 0.9, 0.95, 0.99)),
    (("min_p",), (0.5, 0.2, 0.1, 0.05, 0.01)),
    (("top_k",), (3, 5, 10, 20, 30, 40)),
    (("typical_p",), (0.2, 0.575, 0.95)),
    (("tfs",), (0.5, 0.8, 0.9, 0.95, 0.99)),
    (("top_a",), (0.5, 0.2, 0.1, 0.05, 0.01)),
    (("epsilon_cutoff",), (1, 3, 5, 7, 9)),
    (("eta_cutoff",), (3, 6, 9, 12, 15, 18)),
)
"""What is left out."""
DYNAMIC = [
    (True, low, high) for low in (0.1, 0.5, 0.8, 1.0) for high in (1.0, 1.5, 2.0, 5.0) if low < high
]
FLATTEN: Choices = (
    (("temperature",), (0.1, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0, 5.0)),
    (("dynamic_temperature", "dynatemp_low", "dynatemp_high"), DYNAMIC),
    (("smoothing_factor",), (0.2, 0.3, 0.6, 1.2)),
)
"""How even what is left becomes."""
MORE_OR_LESS = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0)
REPETITION: Choices = (
    (("repetition_penalty",), (1.0, 1.05, 1.1, 1.15, 1.2, 1.25)),
    (("presence_penalty",), MORE_OR_LESS),
    (("frequency_penalty",), MORE_OR_LESS),
)
"""How much repeating is held back."""


def thrown(supported: Container[str], random: Random) -> Sampling:
    """One parameter of each kind that the loader honours; the rest is neutral."""
    found: dict[str, Any] = {}
    for choices in (TAIL, FLATTEN, REPETITION):
        if able := [(n, v) for n, v in choices if all(name in supported for name in n)]:
            names, values = random.choice(able)
            value = random.choice(values)
            found |= zip(names, value if len(names) > 1 else (value,), strict=True)
    if "temperature_last" in supported:
        found["temperature_last"] = random.choice((False, True))
    return Sampling(**found)
