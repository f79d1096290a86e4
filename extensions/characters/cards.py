"""Cards in every form: V1, V2, V3, the YAML and JSON of text-generation-webui, and PNG pictures.

A card is its `data`, named as the V3 specification names it, with all fields that nobody knows;
and what stood `beside` it. V2: https://github.com/malfoyslastname/character-card-spec-v2,
V3: https://github.com/kwaroran/character-card-spec-v3.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, cast

import msgspec

from kernel.api import Refused

from . import png, trees
from .trees import Tree

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    # a field, and what flat files call it; the first that says something counts
    "name": ("name", "char_name", "bot", "<|bot|>"),
    "description": ("description", "context", "char_persona"),
    "scenario": ("scenario", "world_scenario"),
    "mes_example": ("mes_example", "example_dialogue"),
    "first_mes": ("first_mes", "greeting", "char_greeting"),
    "user_name": ("user_name", "your_name", "user", "<|user|>"),
}
REQUIRED: Final[Mapping[str, Any]] = {
    "name": "", "description": "", "tags": [], "creator": "", "character_version": "",
    "mes_example": "", "extensions": {}, "system_prompt": "", "post_history_instructions": "",
    "first_mes": "", "alternate_greetings": [], "personality": "", "scenario": "",
    "creator_notes": "", "group_only_greetings": [],
}  # fmt: skip
"""What a card of the third version must have."""
OLD: Final = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
"""All that the first version knew; some programs still write it beside `data`."""
NOT_ONE = "This is no character: it has neither a name nor a word about it. Give it a name."


@dataclass
class Card:
    """A character as a file holds it."""

    data: Tree
    beside: Tree = field(default_factory=dict[str, Any])


def of_tree(tree: Any) -> Card:
    """The card that a tree is; raises Refused."""
    if not isinstance(tree, dict):
        raise Refused(NOT_ONE)
    tree = cast(Tree, tree)
    if _nested(tree):
        data: Any = tree["data"]
        beside = {k: v for k, v in tree.items() if k != "data"}
        return _some(Card(dict(cast(Tree, data)), beside))
    return _some(_flat(tree))


def of_png(file: BinaryIO, *, whole: bool = True) -> Card | None:
    """The card in a picture, the newer form before the older; None if there is none.

    Unless it is to be `whole`, the picture itself is not looked at.
    """
    texts = png.texts(file, whole=whole)
    told: Refused | None = None
    for name in png.CARDS:
        if name in texts:
            try:
                return of_tree(trees.from_json(_json(texts[name])))
            except Refused as refusal:  # The other may be whole.
                told = told or refusal
    if told:
        raise told
    return None


def tree_of(card: Card, version: int = 3) -> Tree:
    """The card as JSON of a version has it, with what that must have."""
    spec = {"spec": f"chara_card_v{version}", "spec_version": f"{version}.0"}
    data = {**REQUIRED, **card.data}
    if version == 2 and "group_only_greetings" not in card.data:
        del data["group_only_greetings"]
    beside = {k: data.get(k, v) if k in OLD else v for k, v in card.beside.items()}
    return {**spec, **{k: v for k, v in beside.items() if k not in spec}, "data": data}


def flat_of(card: Card) -> Tree:
    """The card as a flat file has it, as short as it may be."""
    if {"data", "card"} & card.data.keys() or _flat(card.data).data != card.data:
        return tree_of(card)
    beside = {k: v for k, v in card.beside.items() if k not in ("spec", "spec_version", *OLD)}
    return {**card.data, **({"card": beside} if beside else {})}


def in_png(card: Card, picture: bytes) -> bytes:
    """The picture with the card in it, in the second form and in the third."""
    said = {
        "chara": base64.b64encode(msgspec.json.encode(tree_of(card, 2))),
        "ccv3": base64.b64encode(msgspec.json.encode(tree_of(card, 3))),
    }
    return png.with_texts(picture, said)


def changed(tree: Tree, card: Card) -> Tree:
    """The tree of a file with what the card says now, under the names that the file uses."""
    if _nested(tree):
        beside = {k: card.data.get(k, v) if k in OLD else v for k, v in card.beside.items()}
        return {k: card.data if k == "data" else beside[k] for k in tree if k in (*beside, "data")}
    homes = {name: _home(tree, name) or name for name in ALIASES}
    new = {homes.get(name, name): value for name, value in card.data.items()}
    kept = {k: new.pop(k) for k in tree if k in new}
    made = {**kept, **new}
    if isinstance(tree.get("card"), dict):
        made["card"] = tree["card"]
    return made if of_tree(made).data == card.data else flat_of(card)


# --- inside -------------------------------------------------------------------------------


def _json(text: bytes) -> bytes:
    """What a text chunk holds: base64, or the JSON as it is."""
    text = text.strip()
    if text.startswith(b"{"):
        return text
    try:
        return base64.b64decode(b"".join(text.split()) + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(png.DAMAGED.format("the card in it is no base64")) from None


def _flat(tree: Tree) -> Card:
    data, beside = dict(tree), dict[str, Any]()
    if isinstance(tree.get("card"), dict):
        beside = cast(Tree, data.pop("card"))
    for name in ALIASES:
        home = _home(data, name)
        if home and home != name:
            value = data.pop(home)
            data.pop(name, None)  # It said nothing.
            data = {name: value, **data} if name == "name" else {**data, name: value}
    return Card(data, beside)


def _home(tree: Mapping[str, Any], name: str) -> str:
    """What a flat tree calls a field."""
    there = [alias for alias in ALIASES[name] if alias in tree]
    return next((alias for alias in there if tree[alias] not in ("", None)), (there or [""])[0])


def _nested(tree: Tree) -> bool:
    """Whether it is `data` that says who the character is."""
    data = tree.get("data")
    spec = str(tree.get("spec", "")).startswith("chara_card")
    return isinstance(data, dict) and (spec or _says(cast(Tree, data)))


def _says(data: Tree) -> bool:
    return any(isinstance(data.get(name), str | int | float) for name in OLD)


def _some(card: Card) -> Card:
    if not _says(card.data):
        raise Refused(NOT_ONE)
    return card
