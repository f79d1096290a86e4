"""Inclusion groups: of entries with the same group only one is told."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence

from .records import Entry


def one_of_each(
    new: Mapping[int, str],
    entries: Sequence[Entry],
    told: Collection[int],
    staying: Collection[int],
    score: Callable[[int], int],
    dice: Callable[[str, int], random.Random],
) -> dict[int, str]:
    """What is left of entries that were found, by their numbers: one of each group, and none of a
    group of which one is told already. `staying`: those that stay go before all others."""
    left = dict(new)
    spoken = {group for n in told for group in entries[n].groups}
    groups: dict[str, list[int]] = {}
    for number in new:
        for group in entries[number].groups:
            groups.setdefault(group, []).append(number)
    for group, found in groups.items():
        members = [n for n in found if n in left]
        kept = -1
        if group not in spoken:
            if len(members) < 2:
                continue
            kept = _best(members, entries, staying, score, dice(group, found[0]))
        for number in members:
            if number != kept:
                del left[number]
    return left


def _best(
    members: Sequence[int],
    entries: Sequence[Entry],
    staying: Collection[int],
    score: Callable[[int], int],
    dice: random.Random,
) -> int:
    for number in members:
        if number in staying:
            return number
    if any(entries[n].scoring for n in members):
        scores = {n: score(n) for n in members}
        most = max(scores.values())
        members = [n for n in members if scores[n] == most or not entries[n].scoring]
    if first := [n for n in members if entries[n].prioritized]:
        return max(first, key=lambda n: entries[n].order)
    weights = [max(0.0, entries[n].weight) for n in members]
    return dice.choices(members, weights)[0] if any(weights) else members[0]
