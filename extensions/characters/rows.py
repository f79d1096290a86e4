"""A lorebook as a form shows it, and the lorebook that a form makes of it: what nobody changed
stays. Of a card (V2, V3) its entries are a list, in a world of SillyTavern they are numbered."""

import re
import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, cast

from .books import FIELDS, entry_of, number_of, whole, words
from .search import LOOKED, never_found
from .trees import Tree

ROW: Final = re.compile(r"entry_(\d{1,6})_(\w+)")
NUMBERED: Final = {"before": 0, "after": 1, "depth": 4}
ROLES: Final = {"system": 0, "user": 1, "assistant": 2}
LOGIC: Final = {"any": 0, "not all": 1, "not any": 2, "all": 3}
NUMBERS: Final = ("sticky", "cooldown", "delay")
Form = Mapping[str, Any]


def shown(book: Tree) -> dict[str, Any]:
    """What the fields of a lorebook hold."""
    said: dict[str, Any] = {"book_name": words(book.get("name"))}
    for name in ("scan_depth", "token_budget"):
        value = book.get(name)
        said[f"book_{name}"] = "" if value is None else whole(value)
    said["book_recursive"] = book.get("recursive_scanning") is True
    until = time.monotonic() + LOOKED
    said["entries"] = [_entry(row, n, until) for n, row in enumerate(entries(book))]
    return said


def entries(book: Tree) -> list[Tree]:
    """The entries, in whatever form they are kept."""
    kept = book.get("entries")
    rows: Any = cast(Tree, kept).values() if isinstance(kept, dict) else kept
    return [tree(row) for row in rows] if isinstance(kept, dict | list) else []


def taken(book: Tree, form: Form) -> Tree:
    """The lorebook with what a person wrote; a row that is gone from the form is gone, one with a
    new number is new."""
    before, new = shown(book), deepcopy(book)
    numbered = isinstance(book.get("entries"), dict)
    rows: dict[int, dict[str, Any]] = {}
    for key, value in form.items():
        if found := ROW.fullmatch(key):
            rows.setdefault(int(found[1]), {})[found[2]] = value
    old = entries(new)
    names = [*cast(Tree, new["entries"])] if numbered else []
    free = max((int(name) for name in names if name.isdecimal()), default=-1) + 1
    made: dict[str, Tree] = {}
    for number, row in rows.items():
        kept = old[number] if number < len(old) else {}
        if kept or any(text(row.get(name, "")).strip() for name in ("keys", "content", "name")):
            made[names[number] if number < len(names) else str(free)] = _taken(
                kept, row, free if numbered else None
            )
            free += number >= len(names)
    if [*made.values()] != old:
        new["entries"] = made if numbered else [*made.values()]
    put(new, "name", text(form.get("book_name", before["book_name"])), before["book_name"])
    for name in ("scan_depth", "token_budget"):
        said = text(form.get(f"book_{name}", before[f"book_{name}"])).strip()
        if said != str(before[f"book_{name}"]):
            new.pop(name, None)
            if said:
                new[name] = whole(said)
    if (recursive := on(form, "book_recursive")) != before["book_recursive"]:
        new["recursive_scanning"] = recursive
    return new


def redrawn(form: Form, before: int, after: int) -> bool:
    """Whether a form on a page no longer is that of the entries, since some came or went."""
    found = (ROW.fullmatch(key) for key in form)
    return not {int(each[1]) for each in found if each} == {*range(before)} == {*range(after)}


# --- one entry ----------------------------------------------------------------------------


def _entry(row: Tree, number: int, until: float = 0) -> dict[str, Any]:
    """What the fields of one entry hold."""
    read = entry_of(row, number, plain=True)
    return {
        "number": number,
        "name": read.name,
        "never": never_found(read, until),
        "keys": ", ".join(read.keys),
        "secondary": ", ".join(read.secondary),
        "logic": read.logic or "",
        "content": read.content,
        "enabled": read.enabled,
        "constant": read.constant,
        "regex": read.regex,
        "case_sensitive": read.case_sensitive,
        "whole_words": read.whole_words,
        "probability": f"{read.probability:g}",
        "order": f"{read.order:g}",
        "place": read.place if read.place in NUMBERED else "before",
        "depth": read.depth,
        "role": read.role,
        "sticky": read.sticky,
        "cooldown": read.cooldown,
        "delay": read.delay,
        "group": ", ".join(read.groups),
        "weight": f"{read.weight:g}",
        "prioritized": read.prioritized,
        "scoring": read.scoring,
    }


def _taken(kept: Tree, row: Form, uid: int | None) -> Tree:
    """An entry with what its row says; what the row does not show stays. `uid` is that of a new
    one in a world."""
    new: Tree = {"keys": [], "content": "", "extensions": {}, "enabled": True,
                 "insertion_order": 100, "use_regex": False, "constant": False}  # fmt: skip
    if uid is not None:
        new = {"uid": uid, "key": [], "keysecondary": [], "comment": "", "content": "",
               "constant": False, "selective": True, "order": 100, "position": 0,
               "disable": False}  # fmt: skip
    entry: Tree = deepcopy(kept) if kept else new
    world = uid is not None
    before = _entry(entry, 0)
    more = dict(tree(entry.get("extensions")))

    def changed(name: str) -> bool:
        if isinstance(before[name], bool):
            return on(row, name) != before[name]
        return name in row and text(row[name]) != str(before[name])

    def write(name: str, value: Any, *, beside: bool = False) -> None:
        """Wherever the field is said; where it is not yet, in the place for it: `beside` the keys,
        or among the extensions of a card."""
        names = FIELDS.get(name, (name,))
        said = False
        for where in (entry, more):
            for each in names:
                if each in where:
                    where[each] = value
                    said = True
        if not said:
            home = entry if world or beside else more
            home[names[-1] if world else names[0]] = value

    for name in ("keys", "secondary"):
        if changed(name):
            write(name, split(text(row[name])), beside=True)
    if changed("content"):
        entry["content"] = text(row["content"])
    if changed("name"):
        write("comment" if "name" not in entry and (world or "comment" in entry) else "name",
              text(row["name"]), beside=True)  # fmt: skip
    if changed("enabled"):
        entry["disable" if world else "enabled"] = on(row, "enabled") != world
        entry.pop("enabled" if world else "disable", None)
    for name, field in (("constant", "constant"), ("regex", "use_regex"), ("case", "case")):
        if changed("case_sensitive" if name == "case" else name):
            write(field, on(row, "case_sensitive" if name == "case" else name), beside=True)
    for name, field in (("whole_words", "whole"), ("prioritized", "prioritized"),
                        ("scoring", "scoring")):  # fmt: skip
        if changed(name):
            write(field, on(row, name))
    if changed("probability"):
        write("probability", min(100.0, max(0.0, number_of(row["probability"]))))
        write("likely", True)
    for name in (*NUMBERS, "weight"):
        if changed(name):
            write(name, whole(row[name]))
    if changed("group"):
        write("group", text(row["group"]).strip())
    if changed("order"):
        write("order", number_of(row["order"]), beside=True)
    if changed("logic"):
        logic = text(row["logic"])
        entry["selective"] = logic in LOGIC
        if logic in LOGIC:
            write("logic", LOGIC[logic])
    if changed("place") or changed("depth") or changed("role"):
        _place(entry, more, row, before, world)
    if more or "extensions" in entry:
        entry["extensions"] = more
    return entry


def _place(entry: Tree, more: Tree, row: Form, before: Form, world: bool) -> None:
    place = text(row.get("place", before["place"]))
    home = entry if world else more
    if not world:
        entry["position"] = "before_char" if place == "before" else "after_char"
    home["position"] = NUMBERED.get(place, 0)
    home["depth"] = whole(row.get("depth", before["depth"]))
    home["role"] = ROLES.get(text(row.get("role", before["role"])), 0)


def split(said: str) -> list[str]:
    """Keys between commas; a comma inside of a pattern between slashes is its own."""
    keys = re.findall(r"\s*(/(?:\\.|[^/\\])+/[a-z]*|[^,]*)\s*(?:,|$)", said)
    return [key.strip() for key in keys if key.strip()]


# --- values of forms ----------------------------------------------------------------------


def put(data: Tree, name: str, now: Any, before: Any, required: bool = False) -> None:
    """Set a field if a person changed it; line ends are the browser's, not the file's."""
    if now == before or _ends(now) == _ends(before):
        return
    if not now and not required:
        data.pop(name, None)
    else:
        data[name] = now


def text(value: Any) -> str:
    return value.replace("\r\n", "\n") if isinstance(value, str) else words(value)


def on(form: Form, name: str) -> bool:
    """Whether a box is ticked; one that is not sends nothing."""
    value = form.get(name)
    value = cast("list[Any]", value)[-1] if isinstance(value, list) and value else value
    return value in (True, "true", "on")


def tree(value: Any) -> Tree:
    return cast(Tree, value) if isinstance(value, dict) else {}


def _ends(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return [_ends(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value
