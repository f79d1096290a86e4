"""Finds below models/ and loras/ what is to be converted before it can be loaded."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from extensions.converter.plans import convertible, described, plan_of, weights
from kernel.api import Refused, Struct, safe_path

DEEPEST = 5
"""Folders below models/, as the list of models has it."""
MOST = 100


class Found(Struct, frozen=True):
    """Weights that can be converted: where they lie, and what they are in a word."""

    place: str
    name: str
    what: str
    size: int


def find(roots: Mapping[str, Path]) -> list[Found]:
    """All of them, by name; `roots` are the folders by the names of places. Blocking."""
    found: list[Found] = []
    for place, root in roots.items():
        for path in _candidates(root):
            if each := one(roots, place, path.relative_to(root).as_posix()):
                found.append(each)
            if len(found) == MOST:
                break
    return sorted(found, key=lambda each: (each.place != "models", each.name.lower()))


def one(roots: Mapping[str, Path], place: str, name: str) -> Found | None:
    """One of them by its name, if it is to be converted. Blocking."""
    try:
        path = safe_path(roots[place], *name.split("/"), follow=True)
        if not convertible(path):
            return None
        plan = plan_of(path)
    except (Refused, ValueError):
        return None
    return Found(place, name, described(plan), plan.size)


def _candidates(root: Path) -> Iterator[Path]:
    """Folders that are converted as a whole, and files in the others; no folder twice."""
    seen: set[str] = set()
    for folder, folders, _ in os.walk(root, followlinks=True):
        real, here = os.path.realpath(folder), Path(folder)
        if real in seen or len(here.relative_to(root).parts) >= DEEPEST:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if here != root and convertible(here):
            yield here
        else:
            yield from (here / name for name in weights(here))
