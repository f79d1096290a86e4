"""Deltas between who says them and who reads them."""

import asyncio
from collections import deque
from typing import Self

from kernel.contract import Delta


class Pipe:
    """Deltas on their way to one reader, who may be cancelled and return without loss."""

    def __init__(self) -> None:
        self._items: deque[Delta] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._error: BaseException | None = None
        self._onward: Pipe | None = None

    def put(self, delta: Delta) -> None:
        if self._onward:
            return self._onward.put(delta)
        self._items.append(delta)
        self._wake()

    def close(self, error: BaseException | None = None) -> None:
        if self._onward:
            return self._onward.close(error)
        self._closed, self._error = True, error
        self._wake()

    def lead(self, onward: "Pipe") -> None:
        """Whoever reads this one wants no more of it: all goes to the next one from now on."""
        self._onward = onward
        for delta in self._items:
            onward.put(delta)
        if self._closed:
            onward.close(self._error)

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while not self._items:
            if self._closed:
                raise self._error or StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._items.popleft()
