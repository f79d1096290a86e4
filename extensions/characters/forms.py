"""A card as a form shows it, and the card that a form makes of it: what nobody changed stays."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, cast

import msgspec

from .books import entry_of, number_of, whole, words
from .cards import ALIASES, REQUIRED, Card
from .trees import Tree, plain

LINES: Final = ("name", "nickname", "creator", "character_version", "user_name")
AREAS: Final = (
    "description", "first_mes", "personality", "scenario", "mes_example", "system_prompt",
    "post_history_instructions", "creator_notes",
)  # fmt: skip
LISTS: Final = ("alternate_greetings", "group_only_greetings")
OTHERS: Final = ("tags", "extensions", "character_book")
_ROW: Final = re.compile(r"(alternate_greetings|group_only_greetings|entry)_(\d{1,6})(?:_(\w+))?")
_PLACES: Final = {"before": 0, "after": 1, "depth": 4}
_ROLES: Final = {"system": 0, "user": 1, "assistant": 2}
_LOGIC: Final = {"any": 0, "not all": 1, "not any": 2, "all": 3}
Form = Mapping[str, Any]


def shown(card: Card) -> dict[str, Any]:
    """What the fields of the form hold."""
    data = card.data
    said: dict[str, Any] = {name: words(data.get(name)) for name in (*LINES, *AREAS)}
    for name in LISTS:
        rows = data.get(name)
        said[name] = [words(each) for each in cast("list[Any]", rows)] if _is(rows, list) else []
    said["tags"] = ", ".join(words(each) for each in _list(data.get("tags")))
    note = _tree(_tree(data.get("extensions")).get("depth_prompt"))
    said["note"] = words(note.get("prompt"))
    said["note_depth"] = whole(note.get("depth", 4))
    role = note.get("role", "system")
    said["note_role"] = role if role in _ROLES else "system"
    book = _tree(data.get("character_book"))
    said["book_name"] = words(book.get("name"))
    for name in ("scan_depth", "token_budget"):
        value = book.get(name)
        said[f"book_{name}"] = "" if value is None else whole(value)
    said["book_recursive"] = book.get("recursive_scanning") is True
    said["entries"] = [_entry(row, n) for n, row in enumerate(_entries(book))]
    known = {*LINES, *AREAS, *LISTS, *OTHERS, *ALIASES}
    said["more"] = {
        name: msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        for name, value in {**data, **({"card": card.beside} if card.beside else {})}.items()
        if name not in known and value not in ("", None, [], {})
    }
    return said


def taken(card: Card, form: Form) -> Card:
    """The card with what a person wrote into the form."""
    data, before = deepcopy(card.data), shown(card)
    for name in (*LINES, *AREAS):
        if name in form:
            _put(data, name, _text(form[name]), before[name])
    rows: dict[str, dict[int, Any]] = {"entry": {}, **{name: {} for name in LISTS}}
    for key, value in form.items():
        if found := _ROW.fullmatch(key):
            kept = rows[found[1]]
            if found[1] == "entry":
                kept.setdefault(int(found[2]), {})[found[3] or ""] = value
            else:
                kept[int(found[2])] = _text(value)
    for name in LISTS:
        if name in form:
            now = [text for text in rows[name].values() if text.strip()]
            _put(data, name, now, before[name])
    if "tags" in form and _text(form["tags"]) != before["tags"]:
        tags = (tag.strip() for tag in _text(form["tags"]).split(","))
        data["tags"] = [*dict.fromkeys(tag for tag in tags if tag)]
    _note(data, form, before)
    _book(data, form, before, rows["entry"])
    return Card(plain(data), card.beside)


def redrawn(form: Form, before: Card, after: Card) -> bool:
    """Whether the form on the page no longer is that of the card: rows came or went, or the name
    in its head is another one."""
    old, new = shown(before), shown(after)
    counted = {"entries": "entry", **{name: name for name in LISTS}}
    for field, row in counted.items():
        found = (_ROW.fullmatch(key) for key in form)
        there = {int(each[2]) for each in found if each and each[1] == row}
        sent = "book" in form if row == "entry" else row in form
        if sent and (there != set(range(len(old[field]))) or len(old[field]) != len(new[field])):
            return True
    return any(old[name] != new[name] for name in ("name", "creator"))


# --- parts --------------------------------------------------------------------------------


def _note(data: Tree, form: Form, before: Form) -> None:
    names = ("note", "note_depth", "note_role")
    if not any(name in form and _text(form[name]) != str(before[name]) for name in names):
        return
    note = {
        **_tree(_tree(data.get("extensions")).get("depth_prompt")),
        "prompt": _text(form.get("note", before["note"])),
        "depth": whole(form.get("note_depth", before["note_depth"])),
        "role": _text(form.get("note_role", before["note_role"])),
    }
    data["extensions"] = {**_tree(data.get("extensions")), "depth_prompt": note}


def _book(data: Tree, form: Form, before: Form, rows: Mapping[int, Form]) -> None:
    """The lorebook; a row that is gone from the form is gone, one with a new number is new."""
    if "book" not in form:
        return
    book = deepcopy(_tree(data.get("character_book")))
    old = _entries(book)
    entries: list[Tree] = []
    for number, row in rows.items():
        kept = old[number] if number < len(old) else {}
        if kept or any(_text(row.get(name, "")).strip() for name in ("keys", "content", "name")):
            entries.append(_entry_of_row(kept, row))
    if entries != old:
        book["entries"] = entries
    _put(book, "name", _text(form.get("book_name", before["book_name"])), before["book_name"])
    for name in ("scan_depth", "token_budget"):
        said = _text(form.get(f"book_{name}", before[f"book_{name}"])).strip()
        if said != str(before[f"book_{name}"]):
            book.pop(name, None)
            if said:
                book[name] = whole(said)
    recursive = _on(form, "book_recursive")
    if recursive != before["book_recursive"]:
        book["recursive_scanning"] = recursive
    if book != _tree(data.get("character_book")):
        data["character_book"] = {"extensions": {}, "entries": [], **book}


def _entry(row: Tree, number: int) -> dict[str, Any]:
    """What the fields of one entry hold."""
    read = entry_of(row, number, plain=True)
    place = read.place if read.place in _PLACES else "before"
    return {
        "number": number,
        "name": read.name,
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
        "place": place,
        "depth": read.depth,
        "role": read.role,
    }


def _entry_of_row(kept: Tree, row: Form) -> Tree:
    """An entry with what its row says; what the row does not show stays."""
    new: Tree = {"keys": [], "content": "", "extensions": {}, "enabled": True,
                 "insertion_order": 100, "use_regex": False, "constant": False}  # fmt: skip
    entry: Tree = deepcopy(kept) if kept else new
    before = _entry(entry, 0)
    more = dict(_tree(entry.get("extensions")))

    def changed(name: str) -> bool:
        if isinstance(before[name], bool):
            return _on(row, name) != before[name]
        return name in row and _text(row[name]) != str(before[name])

    for name, field in (("keys", "keys"), ("secondary", "secondary_keys")):
        if changed(name):
            other = {"keys": "key", "secondary_keys": "keysecondary"}[field]
            entry[other if other in entry else field] = split(_text(row[name]))
    if changed("content"):
        entry["content"] = _text(row["content"])
    if changed("name"):
        entry["comment" if "comment" in entry and "name" not in entry else "name"] = _text(
            row["name"]
        )
    if changed("enabled"):
        entry["enabled"] = _on(row, "enabled")
        entry.pop("disable", None)
    for name, field in (("constant", "constant"), ("regex", "use_regex"),
                        ("case_sensitive", "case_sensitive")):  # fmt: skip
        if changed(name):
            entry[field] = _on(row, name)
    if changed("whole_words"):
        more["match_whole_words"] = _on(row, "whole_words")
    if changed("probability"):
        likely = min(100.0, max(0.0, number_of(row["probability"])))
        more |= {"probability": likely, "useProbability": True}
    if changed("order"):
        entry["order" if "order" in entry else "insertion_order"] = number_of(row["order"])
    if changed("logic"):
        logic = _text(row["logic"])
        entry["selective"] = logic in _LOGIC
        if logic in _LOGIC:
            more["selectiveLogic"] = _LOGIC[logic]
    if changed("place") or changed("depth") or changed("role"):
        place = _text(row.get("place", before["place"]))
        entry["position"] = "before_char" if place == "before" else "after_char"
        more["position"] = _PLACES.get(place, 0)
        more["depth"] = whole(row.get("depth", before["depth"]))
        more["role"] = _ROLES.get(_text(row.get("role", before["role"])), 0)
    if more or "extensions" in entry:
        entry["extensions"] = more
    return entry


def split(text: str) -> list[str]:
    """Keys between commas; a comma inside of a pattern between slashes is its own."""
    keys = re.findall(r"\s*(/(?:\\.|[^/\\])+/[a-z]*|[^,]*)\s*(?:,|$)", text)
    return [key.strip() for key in keys if key.strip()]


# --- values -------------------------------------------------------------------------------


def _put(data: Tree, name: str, now: Any, before: Any) -> None:
    """Set a field if a person changed it; line ends are the browser's, not the file's."""
    if now == before or _ends(now) == _ends(before):
        return
    if not now and name not in REQUIRED:
        data.pop(name, None)
    else:
        data[name] = now


def _ends(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return [_ends(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return value.replace("\r\n", "\n") if isinstance(value, str) else words(value)


def _on(form: Form, name: str) -> bool:
    """Whether a box is ticked; one that is not sends nothing."""
    value = form.get(name)
    value = cast("list[Any]", value)[-1] if _is(value, list) and value else value
    return value in (True, "true", "on")


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind)


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _tree(value: Any) -> Tree:
    return cast(Tree, value) if isinstance(value, dict) else {}


def _entries(book: Tree) -> list[Tree]:
    kept = book.get("entries")
    rows: Any = cast(Tree, kept).values() if isinstance(kept, dict) else _list(kept)
    return [_tree(row) for row in rows]
