"""What other extensions may do with the parameters of pages."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import structs

from kernel.api import UNSET, Point, Sampling

from . import presets, texts
from .choices import TYPED, Choices, Says

__all__ = ["PARAMETERS", "STANDARDS", "Parameters", "Says"]


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

    async def presets(self) -> list[str]:
        """The names of all presets."""
        return await asyncio.to_thread(self._choices.shelf.names)

    def standard(self, model: str) -> str:
        """The preset that a person had come with a model, by its name; empty if none."""
        return self._choices.now.standards.get(model, "")

    async def prefer(self, model: str, preset: str) -> None:
        """Have a preset come with a model; no preset takes that back."""
        if preset != self.standard(model):
            await self._choices.prefer(model, preset)
            await self._tell()

    async def applied(self, preset: str, sampling: Sampling) -> Sampling:
        """These parameters with a preset over them: what presets hold is as its file says, and
        neutral where it says nothing. Raises Refused where there is none of that name."""
        found = (await self._choices.read(preset)).sampling
        neutral = {k: v for k, v in presets.NEUTRAL.items() if k != "sampler_priority"}
        said = {k: v for k, v in structs.asdict(found).items() if v is not UNSET}
        return presets.applied(sampling, Sampling(**{**neutral, **said}))


STANDARDS: Point[Says] = Point("standards", "Who else says which preset comes with a model.")
PARAMETERS: Point[Parameters] = Point("parameters", "What is chosen for the replies of pages.")
