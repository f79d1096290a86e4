"""The lorebook of a card as a world of SillyTavern, and a world as the lorebook of a card.

What both know has another name, and often another place, in each. What only one knows, or nobody,
stays where it stands under its own name, so that it is there on the way back.
"""

from collections.abc import Mapping
from typing import Any, Final

from .rows import entries, tree
from .trees import Tree

BESIDE: Final[Mapping[str, str]] = {
    # in an entry of a world, in one of a card
    "uid": "id",
    "key": "keys",
    "keysecondary": "secondary_keys",
    "order": "insertion_order",
}
AMONG: Final[Mapping[str, str]] = {
    # in an entry of a world, among the extensions of one of a card
    "position": "position",
    "depth": "depth",
    "role": "role",
    "selectiveLogic": "selectiveLogic",
    "probability": "probability",
    "useProbability": "useProbability",
    "excludeRecursion": "exclude_recursion",
    "preventRecursion": "prevent_recursion",
    "delayUntilRecursion": "delay_until_recursion",
    "scanDepth": "scan_depth",
    "matchWholeWords": "match_whole_words",
    "caseSensitive": "case_sensitive",
    "sticky": "sticky",
    "cooldown": "cooldown",
    "delay": "delay",
    "group": "group",
    "groupWeight": "group_weight",
    "groupOverride": "group_override",
    "useGroupScoring": "use_group_scoring",
    "automationId": "automation_id",
    "displayIndex": "display_index",
    "vectorized": "vectorized",
    "ignoreBudget": "ignore_budget",
    "outletName": "outlet_name",
    "triggers": "triggers",
    "characterFilter": "character_filter",
    "matchPersonaDescription": "match_persona_description",
    "matchCharacterDescription": "match_character_description",
    "matchCharacterPersonality": "match_character_personality",
    "matchCharacterDepthPrompt": "match_character_depth_prompt",
    "matchScenario": "match_scenario",
    "matchCreatorNotes": "match_creator_notes",
}
UNSAID: Final = object()
TEXT: Final = "card_position"
"""Where a world keeps what a card said of the position beside the number, if that differs."""


def to_world(book: Tree) -> Tree:
    """A lorebook as SillyTavern keeps its worlds."""
    made: dict[str, Any] = {}
    for number, entry in enumerate(entries(book)):
        row = _to_world(entry, number)
        wanted = (str(row["uid"]), *map(str, range(number, 2 * number + 2)))
        made[next(n for n in wanted if n.isdecimal() and n not in made)] = row
    return {**{k: v for k, v in book.items() if k != "entries"}, "entries": made}


def to_book(world: Tree) -> Tree:
    """A world as the lorebook of a card, of the third version."""
    rest = {k: v for k, v in world.items() if k != "entries"}
    return {"extensions": {}, **rest, "entries": [_to_book(row) for row in entries(world)]}


# --- one entry ----------------------------------------------------------------------------


def _to_world(entry: Tree, number: int) -> Tree:
    row, more = {**entry}, {**tree(entry.get("extensions"))}
    made: Tree = {}
    for world, card in BESIDE.items():
        if card in row and world not in row and _fits(world, row[card]):
            made[world] = row.pop(card)
    if isinstance(row.get("enabled"), bool) and "disable" not in row:
        made["disable"] = not row.pop("enabled")
    text = row.pop("position", UNSAID)
    for world, card in AMONG.items():
        if card in more and world not in row:
            made[world] = more.pop(card)
    if "position" not in made:
        told = isinstance(text, int) and not isinstance(text, bool)
        made["position"] = text if told else int(text == "after_char")
    if text is not UNSAID and text != _text_of(made["position"]):
        made[TEXT] = text
    if isinstance(entry.get("extensions"), dict):
        made["extensions"] = more
        del row["extensions"]
    needed = {"uid": number, "key": [], "keysecondary": [], "comment": "", "content": "",
              "constant": False, "selective": True, "order": 100, "disable": False}  # fmt: skip
    needed = {k: v for k, v in needed.items() if k not in row}
    return {**needed, **row, **made}


def _to_book(entry: Tree) -> Tree:
    row, more = {**entry}, {**tree(entry.get("extensions"))}
    made: Tree = {}
    for world, card in BESIDE.items():
        if world in row and card not in row and _fits(world, row[world]):
            made[card] = row.pop(world)
    if isinstance(row.get("disable"), bool) and "enabled" not in row:
        made["enabled"] = not row.pop("disable")
    text = row.pop(TEXT, _text_of(row.get("position", 0)))
    for world, card in AMONG.items():
        if world in row and card not in more:
            more[card] = row.pop(world)
    if isinstance(entry.get("extensions", {}), dict):
        row["extensions"] = more
    needed = {"keys": [], "content": "", "enabled": True, "insertion_order": 100}
    needed = {k: v for k, v in needed.items() if k not in row}
    return {**needed, **row, **made, "position": text}


def _fits(world: str, value: Any) -> bool:
    """Whether a value may have the name that it has in a world: numbers count the entries there."""
    return world != "uid" or isinstance(value, int)


def _text_of(position: Any) -> str:
    """What a card says of a position beside its number."""
    return "before_char" if position == 0 else "after_char"
