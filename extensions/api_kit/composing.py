"""What the model would be asked for a wish: all is done as for a reply, but no engine is."""

from collections.abc import AsyncIterator
from typing import Any

from msgspec import structs

from kernel.api import Delta, Draft, Extension, Finish, Request

from .calls import Call
from .problems import refused, unavailable
from .wishes import ASKED, Wish

EMPTY = "There is no prompt. Send at least one message."


class Nothing:
    """An answer in the engine's place, without a word."""

    def __init__(self, finish: Finish) -> None:
        self.finish = finish

    def __aiter__(self) -> "Nothing":
        return self

    async def __anext__(self) -> Delta:
        raise StopAsyncIteration


async def stop(draft: Draft) -> AsyncIterator[Delta] | None:
    """The `GENERATE` modifier: a request that is only to be looked at goes no further."""
    asked = draft.turn.options.get(ASKED)
    alone = asked and not draft.turn.client and asked.get("only_compose")
    return Nothing(Finish("stop")) if alone else None


async def composed(ext: Extension[Any], call: Call, wish: Wish) -> Request:
    """The request; raises Problem where there can be none."""
    asked = structs.replace(wish.asked, only_compose=True)
    turn, history = structs.replace(wish, asked=asked).turn(call.caller.owner)
    reply = ext.run(turn, history)
    async for _ in reply:
        pass
    if ext.why:
        raise unavailable(ext.why, "switched_off")
    end = reply.finish or Finish("cancelled")
    if end.error or not reply.request:
        field = end.refused or ""
        raise refused(end.error or EMPTY, wish.called.get(field, field) or None)
    return reply.request
