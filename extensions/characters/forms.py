"""A card as a form shows it, and the card that a form makes of it: what nobody changed stays."""

import re
from copy import deepcopy
from typing import Any, Final, cast

import msgspec

from . import rows
from .books import whole, words
from .cards import ALIASES, REQUIRED, Card
from .reading import worlds_of
from .rows import ROLES, Form, put, text, tree
from .trees import Tree, plain

LINES: Final = ("name", "nickname", "creator", "character_version", "user_name")
AREAS: Final = (
    "description", "first_mes", "personality", "scenario", "mes_example", "system_prompt",
    "post_history_instructions", "creator_notes",
)  # fmt: skip
LISTS: Final = ("alternate_greetings", "group_only_greetings")
OTHERS: Final = ("tags", "extensions", "character_book")
_ROW: Final = re.compile(r"(alternate_greetings|group_only_greetings)_(\d{1,6})")


def shown(card: Card) -> dict[str, Any]:
    """What the fields of the form hold."""
    data = card.data
    said: dict[str, Any] = {name: words(data.get(name)) for name in (*LINES, *AREAS)}
    for name in LISTS:
        said[name] = [words(each) for each in _list(data.get(name))]
    said["tags"] = ", ".join(words(each) for each in _list(data.get("tags")))
    note = tree(tree(data.get("extensions")).get("depth_prompt"))
    said["note"] = words(note.get("prompt"))
    said["note_depth"] = whole(note.get("depth", 4))
    role = note.get("role", "system")
    said["note_role"] = role if role in ROLES else "system"
    said |= rows.shown(tree(data.get("character_book")))
    said["having"] = worlds_of(data.get("extensions"))
    said["world"] = ", ".join(said["having"])
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
            put(data, name, text(form[name]), before[name], name in REQUIRED)
    greetings: dict[str, dict[int, str]] = {name: {} for name in LISTS}
    for key, value in form.items():
        if found := _ROW.fullmatch(key):
            greetings[found[1]][int(found[2])] = text(value)
    for name in LISTS:
        if name in form:
            now = [said for said in greetings[name].values() if said.strip()]
            put(data, name, now, before[name], name in REQUIRED)
    if "tags" in form and text(form["tags"]) != before["tags"]:
        tags = (tag.strip() for tag in text(form["tags"]).split(","))
        data["tags"] = [*dict.fromkeys(tag for tag in tags if tag)]
    if "world" in form and text(form["world"]) != before["world"]:
        more = tree(data.get("extensions"))
        data["extensions"] = {**more, "world": text(form["world"])}
    _note(data, form, before)
    _book(data, form)
    return Card(plain(data), card.beside)


def redrawn(form: Form, before: Card, after: Card) -> bool:
    """Whether the form on the page no longer is that of the card: rows came or went, or the name
    in its head is another one."""
    old, new = shown(before), shown(after)
    if "book" in form and rows.redrawn(form, len(old["entries"]), len(new["entries"])):
        return True
    for name in LISTS:
        found = (_ROW.fullmatch(key) for key in form)
        there = {int(each[2]) for each in found if each and each[1] == name}
        if name in form and not there == {*range(len(old[name]))} == {*range(len(new[name]))}:
            return True
    return any(old[name] != new[name] for name in ("name", "creator"))


# --- parts --------------------------------------------------------------------------------


def _note(data: Tree, form: Form, before: Form) -> None:
    names = ("note", "note_depth", "note_role")
    if not any(name in form and text(form[name]) != str(before[name]) for name in names):
        return
    note = {
        **tree(tree(data.get("extensions")).get("depth_prompt")),
        "prompt": text(form.get("note", before["note"])),
        "depth": whole(form.get("note_depth", before["note_depth"])),
        "role": text(form.get("note_role", before["note_role"])),
    }
    data["extensions"] = {**tree(data.get("extensions")), "depth_prompt": note}


def _book(data: Tree, form: Form) -> None:
    """The lorebook, where the form has it."""
    if "book" not in form:
        return
    before = tree(data.get("character_book"))
    book = rows.taken(before, form)
    if book != before:
        data["character_book"] = {"extensions": {}, "entries": [], **book}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
