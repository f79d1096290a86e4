"""The packages that programs use, read when a test asks one of them for something.

All workers collect all tests, and one runs these: at the top of their files the packages were a
third of the collection, in each worker.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


class Later:
    """A package by its name; what pytest asks of everything it collects begins with `_`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import anthropic
    import langchain_openai
    import ollama
    import openai
else:
    anthropic, langchain_openai = Later("anthropic"), Later("langchain_openai")
    ollama, openai = Later("ollama"), Later("openai")

__all__ = ["anthropic", "langchain_openai", "ollama", "openai"]
