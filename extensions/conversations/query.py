"""What a person types into the search: words, phrases in quotes, `tag:`, `in:` and `from:`."""

import re

from kernel.api import Role, Struct

from .text import clean, folder_of

WORD = re.compile(r'(?:(tag|in|from):)?(?:"([^"]*)(?:"|$)|(\S+))', re.IGNORECASE)
ROLES: dict[str, Role] = {
    "me": "user", "user": "user", "you": "user", "model": "assistant", "assistant": "assistant",
    "reply": "assistant", "system": "system",
}  # fmt: skip
MOST = 20
"""Words and filters of one search; what is typed beyond is no search any more."""
LONGEST = 1000
"""Characters of a search that are read: SQLite refuses patterns of more than 50,000 bytes."""


class Query(Struct, frozen=True):
    """A search: each of `terms` must stand in the title or in one message, as a part of it."""

    terms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    folder: str | None = None
    role: Role | None = None

    def __bool__(self) -> bool:
        return bool(self.terms or self.tags or self.folder is not None or self.role)


def read(text: str) -> Query:
    """Read a search as it is typed; a filter that is none yet counts as a word."""
    terms, tags = list[str](), list[str]()
    folder: str | None = None
    role: Role | None = None
    for found in list(WORD.finditer(clean(text[:LONGEST]).replace("\0", " ")))[:MOST]:
        kind, phrase = (found[1] or "").lower(), (found[2] if found[2] is not None else found[3])
        phrase = phrase.strip()
        if not phrase:
            continue
        if kind == "tag":
            tags.append(phrase.lstrip("#"))
        elif kind == "in":
            folder = "" if phrase == "none" else folder_of(phrase)
        elif kind == "from" and phrase.lower() in ROLES:
            role = ROLES[phrase.lower()]
        else:
            terms.append(found[0] if kind else phrase)
    return Query(tuple(terms), tuple(tags), folder, role)
