"""Token bans and biases, by numbers or by texts that the loaded model turns into numbers."""

import json
from collections.abc import Iterator
from typing import Any

from kernel.api import Model, Refused, Struct

MOST = 1000
"""Lines."""
STRONGEST = 100.0
"""What a bias may be, either way."""


class Piece(Struct, frozen=True):
    """One line of a list: which tokens it means, or why it means none."""

    line: str
    tokens: tuple[tuple[int, str], ...] = ()
    """Numbers and what they say."""
    bias: float = 0.0
    problem: str = ""
    several: bool = False
    """Whether it is a text of several tokens: a phrase."""


def ids_of(text: str) -> str:
    """A list as older programs have it, numbers with commas, one a line; texts stay as they are."""
    text = text.strip()
    old = text.replace(",", " ").split()
    return "\n".join(old) if old and all(each.isdigit() for each in old) else text


async def bans(text: str, model: Model) -> list[Piece]:
    """What must never come, a line each: a number or a text in quotes or without."""
    return [await _piece(line, line, 0.0, model) for line in _lines(ids_of(text))]


def phrase(line: str) -> str:
    """The text that a line of the bans is."""
    if not line.startswith('"'):
        return line
    try:
        return str(json.loads(line))
    except ValueError:
        raise Refused("The quotation marks do not fit together.") from None


async def biases(text: str, model: Model) -> list[Piece]:
    """What is added to scores, a line each: `number: value` or `"text": value`."""
    found: list[Piece] = []
    for line in _lines(text):
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
    lines = [line.strip("\r") for line in text.splitlines() if line.strip()]
    if len(lines) > MOST:
        raise Refused(f"There are {len(lines):,} lines, and {MOST:,} are the most. Shorten it.")
    yield from lines


async def _piece(line: str, what: str, bias: float, model: Model) -> Piece:
    if what.isdigit():
        number, most = int(what), model.info.vocabulary_size
        if most and number >= most:
            return Piece(line, problem=f"The model's tokens are 0 to {most - 1:,}.")
        said = await _said(model, number)
        return Piece(line, ((number, said),), bias)
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
        return Piece(line, problem=why)
    told = tuple([(number, await _said(model, number)) for number in numbers[:20]])
    if len(numbers) != 1:
        problem = f"It is {len(numbers)} tokens. Write those that are meant."
        return Piece(line, told, bias, problem, len(numbers) > 1)
    return Piece(line, told, bias)


async def _said(model: Model, number: int) -> str:
    try:
        said: Any = await model.call("detokenize", token_ids=[number])
    except Exception:
        return ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
