"""Token bans and biases, by numbers or by texts that the loaded model turns into numbers."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kernel.api import Model, Refused, Struct

MOST = 1000
"""Lines."""
DIGITS, ANY = 10, 1 << 31
"""Of a token's number, and how many there may be where a model does not say."""
PATIENCE = 1.0
"""Seconds that a reply waits for what its model says of lists."""
KEPT = 4
"""Lists whose tokens are known: the bans and the biases, of two models."""
STRONGEST = 100.0
"""What a bias may be, either way."""


class Piece(Struct, frozen=True):
    """One line of a list: which tokens it means, or why it means none."""

    line: str
    tokens: tuple[int, ...] = ()
    bias: float = 0.0
    problem: str = ""
    several: bool = False
    """Whether it is a text of several tokens: a phrase."""
    unanswered: bool = False
    """Whether the model did not say its tokens; it may another time."""


Known = Mapping[str, Piece]
NONE: Known = {}
"""The pieces of lines that need not be asked for."""


def ids_of(text: str) -> str:
    """A list as older programs have it, numbers with commas, one a line; texts stay as they are."""
    text = text.strip()
    old = text.replace(",", " ").split()
    return "\n".join(old) if old and all(each.isdecimal() for each in old) else text


def checked(text: str) -> str:
    """A list as it was typed; raises Refused where it is too long."""
    lines = [*_lines(ids_of(text))]
    if len(lines) > MOST:
        raise Refused(f"There are {len(lines):,} lines, and {MOST:,} are the most. Shorten it.")
    return text


async def bans(text: str, model: Model, known: Known = NONE) -> list[Piece]:
    """What must never come, a line each: a number or a text in quotes or without."""
    lines = _lines(ids_of(text))
    return [known.get(line) or await _piece(line, line, 0.0, model) for line in lines]


def phrase(line: str) -> str:
    """The text that a line of the bans is."""
    if not line.startswith('"'):
        return line
    try:
        return str(json.loads(line))
    except ValueError:
        raise Refused("The quotation marks do not fit together.") from None


async def biases(text: str, model: Model, known: Known = NONE) -> list[Piece]:
    """What is added to scores, a line each: `number: value` or `"text": value`."""
    found: list[Piece] = []
    for line in _lines(text):
        if line in known:
            found.append(known[line])
            continue
        what, colon, value = line.rpartition(":")
        try:
            bias = float(value)
        except ValueError:
            bias = STRONGEST + 1
        if not colon or not what.strip() or not -STRONGEST <= bias <= STRONGEST:
            wants = f"a value from -{STRONGEST:g} to {STRONGEST:g} behind a colon"
            found.append(Piece(line, problem=f'It needs {wants}: " word": -2'))
        else:
            found.append(await _piece(line, what.strip(), bias, model))
    return found


def _lines(text: str) -> Iterator[str]:
    yield from (line.strip("\r") for line in text.splitlines() if line.strip())


async def _piece(line: str, what: str, bias: float, model: Model) -> Piece:
    if what.isdecimal():
        most = model.info.vocabulary_size or ANY
        if len(what) > DIGITS or int(what) >= most:
            return Piece(line, problem=f"The model's tokens are 0 to {most - 1:,}.")
        return Piece(line, (int(what),), bias)
    if what[0] == '"':
        try:
            what = json.loads(what)
        except ValueError:
            return Piece(line, problem="The quotation marks do not fit together.")
    try:
        numbers = list(await model.call("tokenize", text=what, special=False))
    except Exception:  # Whatever it is: it cannot say it.
        why = (
            f"{model.info.loader or model.info.name} does not tell tokens of texts. Write numbers."
        )
        return Piece(line, problem=why, unanswered=True)
    found = tuple(numbers[:20])
    if len(numbers) != 1:
        problem = f"It is {len(numbers)} tokens. Write those that are meant."
        return Piece(line, found, bias, problem, len(numbers) > 1)
    return Piece(line, found, bias)


async def said(pieces: Sequence[Piece], model: Model) -> dict[int, str]:
    """What the tokens of a list say: a question for each, for those who look at it."""
    numbers = dict.fromkeys(number for piece in pieces for number in piece.tokens)
    return {number: await _said(model, number) for number in numbers}


async def _said(model: Model, number: int) -> str:
    try:
        said: Any = await model.call("detokenize", token_ids=[number])
    except Exception:
        return ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


class Lists:
    """Lists as tokens of a model, each asked for until it is known, however long that takes."""

    def __init__(self, spawn: Callable[..., asyncio.Task[list[Piece]]]) -> None:
        self._spawn = spawn
        self._reading: dict[tuple[Model, str, str], asyncio.Task[list[Piece]]] = {}
        self._before: dict[tuple[Model, str, str], list[Piece]] = {}
        """Lists as far as they were known when the rest of them was asked for again."""

    async def read(self, typed: Mapping[str, str], model: Model) -> dict[str, list[Piece]]:
        """Those that are known within a moment, by name; the others are for a later reply."""
        tasks = {name: self._task(model, name, text) for name, text in typed.items()}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=PATIENCE)
        found: dict[str, list[Piece]] = {}
        for name, task in tasks.items():
            key = model, name, typed[name]
            if task.done() and not task.cancelled():
                found[name] = task.result()
            elif key in self._before:
                found[name] = self._before[key]
        return found

    def _task(self, model: Model, name: str, text: str) -> asyncio.Task[list[Piece]]:
        key = model, name, text
        task = self._reading.pop(key, None)
        if task and task.done() and not task.cancelled():
            pieces = task.result()
            if any(piece.unanswered for piece in pieces):  # Those are asked for again.
                self._before[key], task = pieces, None
        if not task:
            before = self._before.get(key, ())
            known = {piece.line: piece for piece in before if not piece.unanswered}
            read = bans if name == "custom_token_bans" else biases
            task = self._spawn(read(text, model, known), f"read {name}")
        self._reading[key] = task
        while len(self._reading) > KEPT:
            oldest = next(iter(self._reading))
            self._reading.pop(oldest).cancel()
            self._before.pop(oldest, None)
        return task
