"""Which quantization of a model is small enough."""

import math

from extensions.engine_kit.api import Gguf

USUAL = (
    ("Q8_0", 8.5008), ("Q6_K", 6.5633), ("Q5_K_M", 5.7036), ("Q4_K_M", 4.8944), ("Q3_K_M", 3.9960),
    ("Q2_K", 3.1593),
)  # fmt: skip
"""Those that most models are offered in, the largest first, and the bits that a weight takes in
each, by llama.cpp's own table of Llama 3.1 8B."""
MOST = 33
"""Bits; no file takes more for a weight."""


def small_enough(file: Gguf, room: int) -> str:
    """The largest of them that takes at most so many bytes and less than the file; or nothing."""
    count = sum(math.prod(tensor.shape) for tensor in file.tensors.values())
    own = 8 * file.weights / max(count, 1)
    if own > MOST:
        return ""
    fit = (name for name, bits in USUAL if bits < own and count * bits / 8 <= room)
    return next(fit, "")
