"""What is written in one turn of the loop leaves in one piece."""

import asyncio
from typing import Any

from kernel.joined import Joined


class Told:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def write(self, data: bytes) -> None:
        self.heard.append(data)

    def close(self) -> None:
        self.heard.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.heard


async def test_what_is_written_in_one_turn_leaves_in_one_piece():
    transport = Told()
    joined = Joined(transport)
    joined.write(b"a")
    joined.write(b"b")
    assert transport.heard == []
    await asyncio.sleep(0)
    assert transport.heard == [b"ab"]
    joined.write(b"c")
    await asyncio.sleep(0)
    assert transport.heard == [b"ab", b"c"]
    await asyncio.sleep(0)
    assert transport.heard == [b"ab", b"c"], "nothing is said twice, and nothing for nothing"


async def test_it_closes_after_all_that_was_written():
    transport = Told()
    joined = Joined(transport)
    joined.write(b"last")
    assert not joined.is_closing()
    joined.close()
    await asyncio.sleep(0)
    assert transport.heard == [b"last", "closed"]
    assert joined.is_closing()
