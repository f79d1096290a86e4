"""All that the workers of other extensions may import from here: the native engine and its parts.

It imports the C library, so it is for environments that hold llama-cpp-python.
"""

from extensions.llama_cpp.files import check_model
from extensions.llama_cpp.native.context import FULL, Context, OutOfMemory
from extensions.llama_cpp.native.engine import Native, context_parameters
from extensions.llama_cpp.native.library import Log, Model
from extensions.llama_cpp.native.row import Adapters, Chooser, Row

__all__ = [
    "FULL",
    "Adapters",
    "Chooser",
    "Context",
    "Log",
    "Model",
    "Native",
    "OutOfMemory",
    "Row",
    "check_model",
    "context_parameters",
]
