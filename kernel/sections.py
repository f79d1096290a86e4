"""The sections of settings.yaml: which there are, and in which of them two texts differ."""

import json
from typing import Any, cast

from msgspec import UNSET, Struct, UnsetType

from kernel.checks import unknown
from kernel.oldflags import table
from kernel.yamltext import at

Tree = dict[str, Any]
SECTIONS = ("server", "model", "api", "appearance", "extensions")
NO_NAME = "{} is no name of an extension. Names are words; put others in quotes."


class Own(Struct, frozen=True):
    """What the kernel itself keeps in the section of an extension."""

    enabled: bool | UnsetType = UNSET
    variant: str | UnsetType = UNSET


def listed(tree: Tree) -> list[str]:
    """The extensions that have a section, in their order."""
    return [name for name in _named(tree) if isinstance(name, str)]


def strays(tree: Tree) -> dict[str, str]:
    """What has a section and is none that anybody reads: its place, and a sentence."""
    others = {name for name in _named(tree) if not isinstance(name, str)}
    found = {str(name): unknown(name, SECTIONS, "section") for name in tree if name not in SECTIONS}
    old = table("settings") if len(found) > 1 else dict[str, Any]()
    foreign = [name for name in found if name in old.get("names", ())]
    if len(foreign) > 1:
        found = {n: why for n, why in found.items() if n not in foreign and "-" not in n}
        found[f"{foreign[0]} and others"] = old["said"]
    said = {name: json.dumps(name, default=str).strip('"') for name in others}  # null, not None
    return found | {f"extensions.{name}": NO_NAME.format(name) for name in said.values()}


def differences(old: Tree, new: Tree) -> set[str]:
    """What changed, by section and extension; "order" when extensions have new places."""

    def differ(*path: str) -> bool:
        return repr(at(old, path)) != repr(at(new, path))

    before, after = listed(old), listed(new)
    news = {str(name) for name in old.keys() | new.keys() if name != "extensions" and differ(name)}
    news |= {f"extensions.{id}" for id in {*before, *after} if differ("extensions", id)}
    return news | ({"order"} if before != after else set())


def _named(tree: Tree) -> list[Any]:
    below = at(tree, ("extensions",))
    return [*cast(Tree, below)] if isinstance(below, dict) else []
