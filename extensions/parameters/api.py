"""What other extensions may do with the parameters of pages."""

from collections.abc import Awaitable, Callable
from typing import Any

from kernel.api import Point

from . import texts
from .choices import TYPED, Choices

__all__ = ["PARAMETERS", "Parameters"]


class Parameters:
    """What is chosen for the next replies of pages."""

    def __init__(self, choices: Choices, tell: Callable[[], Awaitable[None]]) -> None:
        self._choices, self._tell = choices, tell

    def typed(self, name: str) -> str:
        """What is chosen of a parameter, as a person would type it; empty where nothing is."""
        if name in TYPED:
            return getattr(self._choices.now, TYPED[name])
        return texts.written(name, getattr(self._choices.now.sampling, name))

    async def set(self, name: str, typed: Any) -> None:
        """Choose a value as if it were typed, in every page; empty takes it back. Raises Refused
        with a sentence."""
        await self._choices.set(name, typed)
        await self._tell()


PARAMETERS: Point[Parameters] = Point("parameters", "What is chosen for the replies of pages.")
