"""Reads lorebooks: that of a card (V2, V3), a world of SillyTavern, and decorators in entries."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import structs

from kernel.api import Role

from .records import Book, Entry, Note, Place

Tree = Mapping[str, Any]
_DECORATOR = re.compile(r"@@@?([a-z_]+)[ \t]*(.*)")
_PLACES: dict[Any, Place] = {
    "before_char": "before",
    "after_char": "after",
    "at_depth": "depth",
    0: "before",
    1: "after",
    2: "depth",
    3: "depth",
    4: "depth",
    5: "after",
    6: "after",
    7: "none",
}
_ROLES: dict[Any, Role] = {0: "system", 1: "user", 2: "assistant"}
_LOGIC = {0: "any", 1: "not all", 2: "not any", 3: "all"}
FIELDS: dict[str, tuple[str, ...]] = {
    # what it is called: in a card or its extensions first, in a world last
    "keys": ("keys", "key"),
    "secondary": ("secondary_keys", "keysecondary"),
    "order": ("insertion_order", "order"),
    "logic": ("selectiveLogic", "selective_logic", "selectiveLogic"),
    "exclude": ("exclude_recursion", "excludeRecursion"),
    "prevent": ("prevent_recursion", "preventRecursion"),
    "later": ("delay_until_recursion", "delayUntilRecursion"),
    "scan": ("scan_depth", "scanDepth"),
    "whole": ("match_whole_words", "matchWholeWords"),
    "case": ("case_sensitive", "caseSensitive"),
    "weight": ("group_weight", "groupWeight"),
    "prioritized": ("group_override", "groupOverride"),
    "scoring": ("use_group_scoring", "useGroupScoring"),
    "outlet": ("outlet_name", "outletName"),
    "free": ("ignore_budget", "ignoreBudget"),
    "whose": ("character_filter", "characterFilter"),
    "likely": ("useProbability", "use_probability", "useProbability"),
}


def book_of(tree: Any) -> Book | None:
    """A lorebook as a card holds it; None where there is none."""
    if not isinstance(tree, Mapping):
        return None
    book = cast(Tree, tree)
    kept = book.get("entries")
    rows: list[Any] = []
    if isinstance(kept, Mapping):  # A world counts them.
        rows = [*cast(Tree, kept).values()]
    elif isinstance(kept, list):
        rows = cast("list[Any]", kept)
    entries = [entry_of(row, n) for n, row in enumerate(rows) if isinstance(row, Mapping)]
    scan, budget = book.get("scan_depth"), book.get("token_budget")
    return Book(
        tuple(entries),
        words(book.get("name")),
        whole(scan) if scan is not None else None,
        whole(budget) if budget is not None else None,
        book.get("recursive_scanning") is True,
    )


def entry_of(row: Tree, number: int, *, plain: bool = False) -> Entry:
    """One entry, from the fields of a card, its extensions, and, unless it is to be read `plain`,
    its decorators."""
    more = row.get("extensions")
    every: Tree = {**(cast(Tree, more) if isinstance(more, Mapping) else {}), **row}

    def said(name: str, default: Any = None) -> Any:
        names = FIELDS.get(name, (name,))
        return next((every[n] for n in names if every.get(n) is not None), default)

    where = cast(Tree, more).get("position") if isinstance(more, Mapping) else None
    place = _PLACES.get(hashed(where)) or _PLACES.get(hashed(row.get("position")), "before")
    secondary = listed(said("secondary"))
    selective = said("selective", False) is True and bool(secondary)
    scan, filtered = said("scan"), said("whose")
    whose = cast(Tree, filtered) if isinstance(filtered, Mapping) else {}
    entry = Entry(
        id=words(row.get("id", row.get("uid", number))) or str(number),
        keys=listed(said("keys")),
        secondary=secondary,
        content=words(row.get("content")),
        name=words(row.get("name")) or words(row.get("comment")),
        enabled=row.get("enabled", True) is not False and row.get("disable") is not True,
        constant=said("constant") is True,
        logic=cast(Any, _LOGIC.get(hashed(said("logic", 0)), "any")) if selective else None,
        regex=said("use_regex") is True,
        case_sensitive=said("case") is True,
        whole_words=said("whole") is True,
        probability=number_of(said("probability", 100)) if said("likely", True) else 100,
        order=number_of(said("order", 100)),
        priority=number_of(said("priority", 0)),
        place=place,
        depth=whole(said("depth", 4)),
        role=role_of(said("role", 0)),
        scan_depth=whole(scan) if scan is not None else None,
        by_recursion=said("exclude") is not True,
        brings=said("prevent") is not True,
        recursion_level=1 if (later := said("later")) is True else whole(later or 0),
        sticky=whole(said("sticky", 0)),
        cooldown=whole(said("cooldown", 0)),
        delay=whole(said("delay", 0)),
        groups=listed(said("group")),
        weight=number_of(said("weight", 100)),
        prioritized=said("prioritized") is True,
        scoring=said("scoring") is True,
        outlet=words(said("outlet")).strip() if place == "none" else "",
        free=said("free") is True,
        names=listed(whose.get("names")),
        tags=listed(whose.get("tags")),
        others=whose.get("isExclude") is True,
    )
    return entry if plain else decorated(entry)


def decorated(entry: Entry) -> Entry:
    """What the lines at the head of an entry say of it; none of them is told to the model."""
    changes: dict[str, Any] = {}
    lines = entry.content.split("\n")
    used = 0
    known = True
    for line in lines:
        found = _DECORATOR.fullmatch(line.strip())
        if not found:
            break
        used += 1
        if line.lstrip().startswith("@@@") and known:  # Only where the one above is unknown.
            continue
        change = _decorator(found[1], found[2].strip(), entry)
        known = change is not None
        for name, value in (change or {}).items():
            both = name in ("keys", "excludes") and name in changes
            changes[name] = changes[name] + value if both else value
    if used:
        changes["content"] = "\n".join(lines[used:]).lstrip("\n")
    return structs.replace(entry, **changes) if changes else entry


def _decorator(name: str, value: str, entry: Entry) -> dict[str, Any] | None:
    """What one decorator changes; None where it is not known."""
    some = tuple(word.strip() for word in value.split(",") if word.strip())
    places = {"before_desc": "before", "after_desc": "after", "personality": "personality",
              "scenario": "scenario"}  # fmt: skip
    match name:
        case "depth":
            return {"place": "depth", "depth": whole(value)}
        case "role" if value in ("system", "user", "assistant"):
            return {"role": value}
        case "scan_depth":
            return {"scan_depth": whole(value)}
        case "position" if value in places:
            return {"place": places[value]}
        case "activate":
            return {"constant": True}
        case "dont_activate":
            return {"enabled": False}
        case "activate_only_after":
            return {"after": whole(value)}
        case "activate_only_every":
            return {"every": max(1, whole(value))}
        case "keep_activate_after_match":
            return {"stays": True}
        case "dont_activate_after_match":
            return {"once": True}
        case "is_greeting":
            return {"greeting": whole(value)}
        case "additional_keys":
            return {"keys": (*entry.keys, *some)}
        case "exclude_keys":
            return {"excludes": some}
        case "ignore_on_max_context":
            return {"optional": True}
        case _:
            return None


def note_of(extensions: Any) -> Note | None:
    """A character's own note: `depth_prompt` among the extensions of its card."""
    said = cast(Tree, extensions).get("depth_prompt") if isinstance(extensions, Mapping) else None
    if not isinstance(said, Mapping):
        return None
    tree = cast(Tree, said)
    text = words(tree.get("prompt"))
    if not text.strip():
        return None
    return Note(text, whole(tree.get("depth", 4)), role_of(tree.get("role", "system")))


# --- values that may be anything ----------------------------------------------------------


def words(value: Any) -> str:
    """A text; a number is written down, anything else is none."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def listed(value: Any) -> tuple[str, ...]:
    """Texts; one alone may be a row between commas."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Sequence):
        return ()
    found = (words(each).strip() for each in cast("Sequence[Any]", value))
    return tuple(each for each in found if each)


def number_of(value: Any) -> float:
    """A number; 0 where it is none that counts."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return found if abs(found) < 1e15 else 0  # NaN is not, either.


def whole(value: Any) -> int:
    """A whole number from 0 on."""
    return max(0, int(number_of(value)))


def role_of(value: Any) -> Role:
    if value in ("system", "user", "assistant"):
        return value
    return _ROLES.get(hashed(value), "system")


def hashed(value: Any) -> Any:
    """The value, or None where it cannot be looked up."""
    return value if isinstance(value, str | int | float) else None
