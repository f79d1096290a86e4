"""Patterns of model names, as text-generation-webui has them in config.yaml: none can stall.

Python's own expressions may take for ever on a short name, and a folder of models may come from a
stranger. These are the linear ones of the engine kit; what they cannot do, to look ahead, they
need not do in the middle of a pattern: where it stands at the beginning it is a pattern by itself.
"""

import re
from collections.abc import Callable

from extensions.engine_kit.api import Pattern, Unsupported

Matches = Callable[[str], bool]
LONGEST = 1_000
"""Characters of a pattern."""
AHEAD = re.compile(r"\^?\(\?([=!])")


def matcher(pattern: str) -> Matches:
    """Whether a name begins as a pattern says, whatever its case; raises Unsupported."""
    if len(pattern) > LONGEST:
        raise Unsupported("it is too long")
    literal = pattern.removesuffix("$").casefold()  # Names are saved as they are, with a "$".
    rest, needs = pattern.removeprefix("(?i)"), list[tuple[bool, Pattern]]()
    try:
        while found := AHEAD.match(rest):
            inside, rest = _bracketed(rest[found.end() :])
            needs.append((found[1] == "=", Pattern(f"^(?:{inside})")))
        begins = Pattern(f"^(?:{rest})")
    except Unsupported:
        if any(letter in pattern for letter in "*?|\\"):
            raise
        return lambda name: name.casefold() == literal

    def matches(name: str) -> bool:
        if name.casefold() == literal:
            return True
        return begins.search(name) and all(need.search(name) == wanted for wanted, need in needs)

    return matches


def _bracketed(text: str) -> tuple[str, str]:
    """What stands before the bracket that closes, and what comes after it."""
    depth, at, inside = 1, 0, False
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            at += 1
        elif inside or letter == "[":
            inside = letter != "]"
        else:
            depth += (letter == "(") - (letter == ")")
            if not depth:
                return text[:at], text[at + 1 :]
        at += 1
    raise Unsupported("a bracket is not closed")
