"""All that other extensions and their workers may import from here.

Each name is imported when it is asked for: all but `HONOURED` need PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extensions.transformers.honoured import HONOURED
    from extensions.transformers.processes import Tokens
    from extensions.transformers.sampling import Sampler, likeliest
    from extensions.transformers.vocabulary import Vocabulary

WHERE = {
    "HONOURED": "honoured", "Sampler": "sampling",
    "Vocabulary": "vocabulary", "likeliest": "sampling", "Tokens": "processes",
}  # fmt: skip

__all__ = ["HONOURED", "Sampler", "Tokens", "Vocabulary", "likeliest"]


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(name)
    return getattr(import_module(f"extensions.transformers.{WHERE[name]}"), name)
