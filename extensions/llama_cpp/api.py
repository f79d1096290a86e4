"""All that other extensions may import from here: the load form and the loader on the server's
side; in workers whose environment holds llama-cpp-python, the native engine and its parts.

Each name is imported when it is asked for, as neither side has what the other one needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extensions.llama_cpp.building import NotBuilt
    from extensions.llama_cpp.compiling import before_load
    from extensions.llama_cpp.loader import LlamaLoader
    from extensions.llama_cpp.memory import PIECE
    from extensions.llama_cpp.native.candidates import Candidates
    from extensions.llama_cpp.native.constraint import Constraint
    from extensions.llama_cpp.native.context import FULL, Context, OutOfMemory
    from extensions.llama_cpp.native.engine import Native
    from extensions.llama_cpp.native.library import Log, Model
    from extensions.llama_cpp.native.parameters import context_parameters, running
    from extensions.llama_cpp.native.processors import Processors
    from extensions.llama_cpp.native.row import Adapters, Chooser, Row
    from extensions.llama_cpp.options import Options, folded, with_flags

WHERE = {
    "NotBuilt": "building", "before_load": "compiling", "LlamaLoader": "loader",
    "PIECE": "memory", "FULL": "native.context",
    "Context": "native.context", "OutOfMemory": "native.context", "Native": "native.engine",
    "Log": "native.library", "Model": "native.library",
    "context_parameters": "native.parameters", "running": "native.parameters",
    "Adapters": "native.row", "Chooser": "native.row", "Row": "native.row",
    "Candidates": "native.candidates", "Constraint": "native.constraint",
    "Processors": "native.processors", "Options": "options", "folded": "options",
    "with_flags": "options",
}  # fmt: skip

__all__ = [
    "FULL",
    "PIECE",
    "Adapters",
    "Candidates",
    "Chooser",
    "Constraint",
    "Context",
    "LlamaLoader",
    "Log",
    "Model",
    "Native",
    "NotBuilt",
    "Options",
    "OutOfMemory",
    "Processors",
    "Row",
    "before_load",
    "context_parameters",
    "folded",
    "running",
    "with_flags",
]


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(name)
    return getattr(import_module(f"extensions.llama_cpp.{WHERE[name]}"), name)
