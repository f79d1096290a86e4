"""Calls without any mark: they are some only where the whole reply is nothing else."""

from collections.abc import Generator

from .families import LONGEST, harmony, pythonic
from .reading import Found, NoCall, Parser, Reader
from .values import KEYS, NAMES, Tools, arguments, call, listed, parsed


def whole(reader: Reader, tools: Tools) -> Parser:
    """Llama 3's JSON, Llama 4's `[f(a=1)]`, a name and JSON (GLM 4), one or several to the end."""
    yield from reader.space()
    if (yield from reader.tag("to=functions.")):  # GPT-OSS, its beginning taken with the thought.
        reader.at -= len("to=functions.")
        yield from harmony(reader, tools)
        return
    found: list[Found] = []
    while (first := (yield from reader.letter())) or not found:
        if first == "[":
            found += yield from in_list(reader, tools)
        elif first == "{":
            found += yield from of_json(reader, tools)
        else:
            name = yield from reader.need(*tools.offered)
            yield from reader.space()
            found += [call(name, arguments(parsed((yield from reader.nested()))))]
        yield from reader.after_space(";", ",")
        yield from reader.space()
    yield from found


def in_list(reader: Reader, tools: Tools) -> Generator[None, None, list[Found]]:
    begin = reader.at
    reader.at += 1
    yield from reader.space()
    first = yield from reader.letter()
    if first == "{":
        return (yield from of_json(reader, tools, begin))
    reader.at = begin
    return (yield from pythonic(reader, tools))


def of_json(
    reader: Reader, tools: Tools, begin: int | None = None
) -> Generator[None, None, list[Found]]:
    """The calls of an object, or of the list that begins there; most JSON is none by its first
    key, and not held back."""
    begin = reader.at if begin is None else begin
    reader.at += 1
    yield from reader.space()
    yield from reader.need('"')
    key = yield from reader.until('"', LONGEST)
    yield from reader.space()
    yield from reader.need(":")
    yield from reader.space()
    if key not in KEYS:
        raise NoCall
    if key in NAMES and (yield from reader.need('"', *"{"[: key == "function"])) == '"':
        tools.known((yield from reader.until('"', LONGEST)))
    reader.at = begin
    return [*listed(parsed((yield from reader.nested())), tools, bare=True)]
