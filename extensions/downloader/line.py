"""Whose turn it is: who came first goes first, and who went on after a pause waits behind."""

import asyncio
from collections.abc import Callable


class Line:
    """Names in the order in which they came; as many as `at_once` says have their turn."""

    def __init__(self, at_once: Callable[[], int]) -> None:
        self._at_once, self._names = at_once, list[str]()
        self._moved = asyncio.Event()

    def join(self, name: str) -> None:
        """Wait behind the others."""
        self.leave(name)
        self._names.append(name)

    def leave(self, name: str) -> None:
        """Give the turn, or the place, to the others."""
        if name in self._names:
            self._names.remove(name)
        self.move()

    def move(self) -> None:
        """Let those look who wait: there may be more room."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def turn(self, name: str) -> None:
        """Wait until it is among the first."""
        while name not in self._names[: self._at_once()]:
            await self._moved.wait()
