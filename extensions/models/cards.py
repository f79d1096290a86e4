"""A model card's head: the licence and the base model that a README.md beside the weights names."""

import re
from pathlib import Path

from kernel.contract import Struct

HEAD = 20_000
"""Bytes of a README.md that are looked at."""


class Card(Struct, frozen=True):
    """What the head of a card says."""

    licence: str = ""
    base: str = ""


def card_of(folder: Path) -> Card:
    """The card in a folder; an empty one where there is none."""
    try:
        with (folder / "README.md").open("rb") as file:
            text = file.read(HEAD).decode(errors="replace")
    except OSError:
        return Card()
    head = re.match(r"\ufeff?---\s*\n(.*?)\n---", text, re.DOTALL)
    if not head:
        return Card()
    licence = _said(head[1], "license")
    if licence == "other":
        licence = _said(head[1], "license_name") or licence
    return Card(licence, _said(head[1], "base_model"))


def card_beside(path: Path) -> Card:
    """The card beside a file, where the folder is that model's own: no other model lies there."""
    others = [each for each in path.parent.glob("*.gguf") if _stem(each) != _stem(path)]
    return Card() if others else card_of(path.parent)


def _said(head: str, key: str) -> str:
    """The value of a line; of a list, the first."""
    found = re.search(rf"^{key}:[ \t]*(?:\n\s*-[ \t]*)?([^\n]*)$", head, re.MULTILINE)
    return " ".join(found[1].strip(" \"'[]\t").split())[:200] if found else ""


def _stem(path: Path) -> str:
    """A name without the words that tell one quantization, or one part, from another."""
    return re.sub(r"[-.](?:\d+-of-\d+|[A-Z]*I?Q\d\w*|B?F\d\d)(?=[-.])", "", path.name)
