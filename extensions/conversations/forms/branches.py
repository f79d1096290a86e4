"""Rows with versions, as other programs keep conversations: to and from a tree of messages."""

from collections.abc import Iterable, Sequence
from typing import Any

from extensions.conversations.whole import Said, Whole
from kernel.api import Role, Struct

MOST = 200_000
"""Messages of a conversation of another program: each costs a hundred times its shortest words."""
TOO_MANY = f"It holds more than {MOST:,} messages. Split it, and choose the parts"


class Row(Struct, frozen=True):
    """A place in the conversation: its versions, of which one is shown."""

    versions: tuple[Said, ...]
    shown: int = 0

    @property
    def said(self) -> Said:
        return self.versions[self.shown]


def tree(rows: Iterable[Row]) -> tuple[tuple[Said, ...], str]:
    """The rows as messages, each below the shown version of the row before; and the leaf's id.

    Raises ValueError where there are too many: rows that are made as they are read stop there.
    """
    messages, parent, shown = list[dict[str, Any]](), "", ""
    for row in rows:
        above = next((m for m in reversed(messages) if m["id"] == parent), None)
        for n, said in enumerate(row.versions):
            fields = {name: getattr(said, name) for name in said.__struct_fields__}
            id = str(len(messages) + 1)
            messages.append({**fields, "id": id, "parent": parent})
            if n == row.shown:
                shown = id
        if len(messages) > MOST:
            raise ValueError(TOO_MANY)
        if row.versions:
            if above:
                above["child"] = shown
            parent = shown
    return tuple(Said(**fields) for fields in messages), parent


def rows(whole: Whole) -> list[Row]:
    """The branch that is shown, each message with its versions, oldest first."""
    by_id = {said.id: said for said in whole.messages}
    beside: dict[tuple[str, Role], list[Said]] = {}
    for said in whole.messages:
        beside.setdefault((said.parent, said.role), []).append(said)
    found, at = list[Row](), whole.leaf
    while at in by_id:
        said = by_id.pop(at)
        versions = beside[said.parent, said.role]
        found.append(Row(tuple(versions), versions.index(said)))
        at = said.parent
    return found[::-1]


def first_words(messages: Sequence[Said]) -> str:
    """What a conversation without a title is called after."""
    asked = [said.text for said in messages if said.role == "user" and said.text.strip()]
    return next(iter(asked), messages[0].text if messages else "")
