"""One of many texts, as GBNF that begins only once what many of them begin with."""

from collections.abc import Iterable
from itertools import groupby

from extensions.engine_kit.schema_words import literal

DEEPEST = 20
"""Brackets within brackets; what lies deeper is written out."""


def one_of(texts: Iterable[str], deep: int = DEEPEST) -> str:
    """Alternatives of which no two begin with the same letter: an engine follows at once all that
    may still come, and of a thousand there is soon only one."""
    found = list[str]()
    for _, alike in groupby(sorted(set(texts)), key=lambda text: text[:1]):
        group = list(alike)
        if len(group) == 1 or not deep:
            found += map(literal, group)
            continue
        same = alike_for(group[0], group[-1])
        rest = one_of((text[same:] for text in group), deep - 1)
        found.append(f"{literal(group[0][:same])} ({rest})")
    return " | ".join(found)


def alike_for(first: str, last: str) -> int:
    """How many letters two texts begin with alike; so do all that lie between them in order."""
    letters = enumerate(zip(first, last, strict=False))
    return next((at for at, (one, other) in letters if one != other), min(len(first), len(last)))
