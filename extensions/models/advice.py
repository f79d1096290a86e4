"""What to change where a model did not load for want of memory: options, by what they do."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kernel.api import Field

MEMORY = re.compile(r"\bmemory|\bGB\b|\bVRAM\b|\bdo(es)? not fit|\ballocat", re.IGNORECASE)
LESS: Mapping[str, str] = {
    "context_length": "shorter: the memory for conversations shrinks with it",
    "gpu_layers": "fewer: the rest stays in the machine's memory, and is slower",
    "cache_type": "q8_0 takes half of f16, q4_0 a quarter",
    "dtype": "float16 or bfloat16 take half of float32",
    "device": "cpu: the machine's memory instead of the card's",
    "quantization": "fewer bits for each weight",
    "parallel": "fewer replies at once",
    "ubatch_size": "smaller: less to compute in",
    "cache_ram": "less for what was read before",
}
"""What takes less memory, by the name of an option, the most useful first."""


class Advice(NamedTuple):
    """A sentence, and the options that it is about: the name, the label, what to do with it."""

    says: str
    options: Sequence[tuple[str, str, str]]


def advice(error: str, fields: Sequence[Field]) -> Advice | None:
    """What may help against this error; nothing where it is not about memory."""
    if not MEMORY.search(error):
        return None
    known = {field.name: field.label for field in fields}
    options = [(name, known[name], how) for name, how in LESS.items() if name in known]
    says = "It takes less memory with:" if options else "Choose a smaller model of its kind."
    return Advice(says, options)
