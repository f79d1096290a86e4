"""The packages that programs use, read when a test asks one of them for something.

All workers collect all tests, and one runs these: at the top of their files the packages were a
third of the collection, in each worker.
"""

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING


def later(name: str) -> ModuleType:
    """A module that is executed when its first attribute is asked for."""
    spec = find_spec(name)
    assert spec
    assert spec.loader
    spec.loader = LazyLoader(spec.loader)
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    import anthropic
    import langchain_openai
    import ollama
    import openai
else:
    anthropic, langchain_openai = later("anthropic"), later("langchain_openai")
    ollama, openai = later("ollama"), later("openai")

__all__ = ["anthropic", "langchain_openai", "ollama", "openai"]
