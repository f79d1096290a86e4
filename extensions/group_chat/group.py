"""A group: who is in it, and who speaks next."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import structs

from kernel.api import Meta, Refused, Struct, built

Id = Annotated[str, Meta(max_length=200)]
Order = Literal["list", "mention", "manual"]
MOST = 30
"""Members of a group."""
SILENT = "Everybody in this group is muted. Let somebody speak again."
GONE = (
    "The files of all who could speak in this group are gone. Bring one back in Characters, or let"
    " somebody else speak."
)
_COMMON = {"the", "and", "von", "van", "der", "del", "mrs", "sir", "lady", "lord", "doctor"}
"""Words of names that mention nobody."""


class Member(Struct, frozen=True):
    """A character of the group."""

    id: Id
    muted: bool = False
    """It is there, and does not speak by itself."""
    gone: bool = False
    """It has left; what it said keeps its name and picture."""


class Said(Struct, frozen=True):
    """A message, as far as it tells who is next."""

    name: str
    """The character's; empty for the user's."""
    text: str


@built
class Group(Struct, frozen=True):
    """The group of a conversation, kept with it."""

    members: Annotated[tuple[Member, ...], Meta(max_length=200)] = ()
    order: Order = "list"
    chosen: Id = ""
    """Who speaks in manual order."""
    spoken: Mapping[str, Id] = {}
    """Who was called so when they spoke: a character may have another name by now."""

    @property
    def here(self) -> list[Member]:
        return [member for member in self.members if not member.gone]

    @property
    def speaking(self) -> list[str]:
        """The ids of those who speak by themselves, in their order."""
        return [member.id for member in self.here if not member.muted]

    def with_(self, id: str) -> "Group":
        """The group with one more, at its end."""
        if any(member.id == id for member in self.here):
            raise Refused("This character is in the group already.")
        if len(self.here) >= MOST:
            raise Refused(f"A group has {MOST} members at most. Remove somebody first.")
        kept = tuple(member for member in self.members if member.id != id)
        return structs.replace(self, members=(*kept, Member(id)))

    def without(self, id: str) -> "Group":
        return self._changed(id, gone=True)

    def back(self, id: str) -> "Group":
        """The group with one who has left, as and where it was."""
        members = tuple(structs.replace(m, gone=m.gone and m.id != id) for m in self.members)
        return structs.replace(self.with_(id), members=members)

    def muted(self, id: str, muted: bool) -> "Group":
        return self._changed(id, muted=muted)

    def moved(self, id: str, to: int) -> "Group":
        """One of those who are there, at another place."""
        here = self.here
        at = next((n for n, member in enumerate(here) if member.id == id), None)
        if at is None:
            raise Refused("This character is not in the group any more.")
        here.insert(to, here.pop(at))
        gone = [member for member in self.members if member.gone]
        return structs.replace(self, members=(*here, *gone))

    def renamed(self, old: str, new: str) -> "Group":
        """The group with another id for one who is in it, or was."""
        members = tuple(
            structs.replace(member, id=new) if member.id == old else member
            for member in self.members
        )
        spoken = {name: new if id == old else id for name, id in self.spoken.items()}
        chosen = new if self.chosen == old else self.chosen
        return structs.replace(self, members=members, chosen=chosen, spoken=spoken)

    def named(self, names: Mapping[str, str]) -> "Group":
        """The group that remembers what its members are called now; `names` by ids."""
        now = {name: id for id, name in names.items()}
        return structs.replace(self, spoken={**self.spoken, **now})

    def next(self, names: Mapping[str, str], said: Sequence[Said]) -> str:
        """Who speaks after what was said; `names` by ids. Raises Refused where nobody can."""
        speaking = [id for id in self.speaking if id in names]
        if self.order == "manual" and self.chosen in [member.id for member in self.here]:
            return self.chosen
        if not speaking:
            raise Refused(GONE if self.speaking else SILENT)
        last = said[-1] if said else Said("", "")
        if self.order == "mention":
            others = [id for id in speaking if names[id] != last.name]
            if mentioned := first_mentioned(last.text, {id: names[id] for id in others}):
                return mentioned
        if self.order == "manual":
            return speaking[0]
        before = next((each.name for each in reversed(said) if each.name), "")
        order = [member.id for member in self.here if member.id in names]
        at = next((n for n, id in enumerate(order) if names[id] == before), -1)
        turns = [*order[at + 1 :], *order[: at + 1]]
        return next(id for id in turns if id in speaking)

    def _changed(self, id: str, **fields: bool) -> "Group":
        if not any(member.id == id for member in self.here):
            raise Refused("This character is not in the group any more.")
        members = tuple(
            structs.replace(member, **fields) if member.id == id else member
            for member in self.members
        )
        return structs.replace(self, members=members)


def first_mentioned(text: str, names: Mapping[str, str]) -> str:
    """The id whose name, or a word of it, stands first in a text; a whole name goes before."""
    found: list[tuple[int, int, str]] = []
    for id, name in names.items():
        words = [w for w in re.findall(r"\w+", name) if len(w) > 2 and w.casefold() not in _COMMON]
        for rank, each in enumerate((name, *words)):
            pattern = rf"(?<!\w){re.escape(each)}(?!\w)"
            if each and (match := re.search(pattern, text, re.IGNORECASE)):
                found.append((match.start(), rank, id))
                break
    return min(found)[2] if found else ""
