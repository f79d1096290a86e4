"""The parts of JSON as rules of a grammar."""

from collections.abc import Mapping

SPACE = r'(" " | "\n" [ \t]{0,20})?'
"""A space, or a new line with its indent, where writers of JSON put one, and nowhere else: small
models that may go on with empty lines do."""
LETTER = r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})'
DATE = '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
CLOCK = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
TIME = f'{CLOCK} ":" [0-5] [0-9] ("." [0-9]{{1,9}})? ("Z" | [+-] {CLOCK})'
HEX = "[0-9a-fA-F]"
COMMON: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "space": (SPACE, ()),
    "letter": (LETTER, ()),
    "string": (r'"\"" letter* "\""', ("letter",)),
    "digits": ("[0-9] | [1-9] [0-9]{1,15}", ()),
    "integer": ('"-"? digits', ("digits",)),
    "number": ('"-"? digits ("." [0-9]{1,16})? ([eE] [+-]? [0-9]{1,3})?', ("digits",)),
    "boolean": ('"true" | "false"', ()),
    "null": ('"null"', ()),
    "value": (
        "object | array | string | number | boolean | null",
        ("object", "array", "string", "number", "boolean", "null"),
    ),
    "object": (
        '"{" space (pair ("," space pair)*)? space "}"',
        ("pair", "space"),
    ),
    "pair": ('string ":" " "? value', ("string", "value")),
    "array": ('"[" space (value ("," space value)*)? space "]"', ("value", "space")),
    "date": (rf'"\"" {DATE} "\""', ()),
    "time": (rf'"\"" {TIME} "\""', ()),
    "date-time": (rf'"\"" {DATE} "T" {TIME} "\""', ()),
    "uuid": (
        rf'"\"" {HEX}{{8}} "-" {HEX}{{4}} "-" {HEX}{{4}} "-" {HEX}{{4}} "-" {HEX}{{12}} "\""',
        (),
    ),
}
"""Rules that are written when they are needed, and those that they need."""


def whole(low: int | None, high: int | None) -> str:
    """What stands for the numbers from `low` to `high`; None is no bound. Up to 16 digits."""
    top = 10**16 - 1
    low, high = -top if low is None else low, top if high is None else high
    parts: list[str] = []
    if low < 0:
        parts += [f'"-" ({each})' for each in spans(max(1, -high), -low)]
    if high >= 0:
        parts += spans(max(0, low), high)
    return " | ".join(parts) or '"0"'


def spans(low: int, high: int) -> list[str]:
    """Runs of numbers of one length whose digits are free one by one."""
    found: list[str] = []
    while low <= high:
        digits = str(low)
        free = 0  # digits at the end that may be anything
        while free < len(digits) - 1 and digits[-1 - free] == "0":
            if low + 10 ** (free + 1) - 1 > high:
                break
            free += 1
        step = 10**free
        lead = digits[: len(digits) - free]
        most = min(9, int(lead[-1]) + (high - low + 1) // step - 1)
        found.append(one(lead[:-1], lead[-1], str(most), free))
        low += (most - int(lead[-1]) + 1) * step
    return found


def one(before: str, least: str, most: str, free: int) -> str:
    parts = [f'"{before}"'] if before else []
    parts.append(f"[{least}-{most}]" if least != most else f'"{least}"')
    if free:
        parts.append(f"[0-9]{{{free}}}" if free > 1 else "[0-9]")
    return " ".join(parts)
