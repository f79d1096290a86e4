"""The modifier: the calls of a reply leave its text for a channel of their own."""

from collections.abc import AsyncIterator

from msgspec import structs

from kernel.api import Delta, Turn

from .choosing import begun, choice_of, offered
from .finding import Finder
from .growing import Growing
from .streaming import Stream
from .values import Tools

GROWING = "growing_calls"
"""The option of a turn whose caller takes a call in pieces."""


def apart(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    """The modifier: calls leave the text for the channel `tool`."""
    tools = Tools(offered(turn))
    return called(deltas, turn, tools) if tools.offered else deltas


async def called(deltas: AsyncIterator[Delta], turn: Turn, tools: Tools) -> AsyncIterator[Delta]:
    """The text, and the calls of these tools."""
    forced = choice_of(turn).forced
    grows = forced and turn.options.get(GROWING) is True
    most = 1 if turn.options.get("parallel_tool_calls") is False else 0
    streams: dict[int, Stream] = {}
    mistaken: dict[int, bool] = {}
    """Whether the call stands in a thought: a grammar made it so where the template began one."""
    async for delta in deltas:
        if forced and delta.channel == "reasoning" and delta.text:
            mistaken.setdefault(delta.choice, delta.text.lstrip().startswith("{"))
            if mistaken[delta.choice]:
                delta = structs.replace(delta, channel="text")
        if delta.channel != "text":
            yield delta
            continue
        stream = streams.get(delta.choice)
        if delta.replace:
            for channel in ("text", "tool") if stream else ():
                yield Delta("", channel, replace=True, choice=delta.choice)
            stream = None
        if not stream:
            stream = streams[delta.choice] = (
                Growing(delta.choice, tools)
                if grows
                else Stream(delta.choice, Finder(tools, "" if forced else begun(turn)), most=most)
            )
        for each in stream.hear(delta):
            yield each
    for stream in streams.values():
        for each in stream.end():
            yield each
