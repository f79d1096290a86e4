"""Words on their way into and out of the store: cleaned, shortened, identified."""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: sorts like the number it stands for, nothing looks like something else."""


def clean(text: str) -> str:
    """Make `text` storable: halves of characters become whole where they can, else U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


SECRET = "z"
"""How ids of incognito conversations and of their messages begin; no clock makes one."""


def new_id(*, secret: bool = False) -> str:
    """Sixteen characters: the millisecond, then 35 random bits; readable order, never relied on."""
    number = time.time_ns() // 1_000_000 << 35 | secrets.randbits(35)
    id = "".join(ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))
    return SECRET + id[1:] if secret else id


def is_secret(id: str) -> bool:
    """Whether what bears this id is kept in memory only."""
    return id.startswith(SECRET)


def of_copies(key: str, value: T, copies: Mapping[str, str]) -> tuple[str, T | str]:
    """What is kept under a key, for copies of messages: where its last word, or all of the value,
    is the id of a message, it is that of its copy."""
    id = key.rpartition(" ")[2]
    key = key.removesuffix(id) + copies.get(id, id)
    return key, copies.get(value, value) if isinstance(value, str) else value


def title_of(text: str, length: int = 60) -> str:
    """Take the beginning of a message, cut between words, as a conversation's title."""
    words = re.sub(r"[\s\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]+", " ", text[:1000])
    words = words.strip()
    if len(words) <= length:
        return words or "New conversation"
    head, _, rest = words[: length + 1].rpartition(" ")
    return (head if len(head) > length // 2 else (head + " " + rest)[:length].strip()) + "…"


def pieces(text: str, terms: Sequence[str], around: int = 40, length: int = 160) -> tuple[str, ...]:
    """The surroundings of the first of `terms` in `text`: every second piece is one of them."""
    if not terms:
        return (text[:length] + ("…" if len(text) > length else ""),)
    longest = sorted(set(terms), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest)), re.IGNORECASE)
    if not (first := pattern.search(text)):
        return pieces(text, (), around, length)
    start = max(0, first.start() - around)
    end = max(first.end(), start + length)
    found, at = list[str](), start
    for each in pattern.finditer(text, first.start(), end):
        found += [text[at : each.start()], each[0]]
        at = each.end()
    found.append(text[at:end])
    found[0] = ("…" if start else "") + found[0]
    found[-1] += "…" if end < len(text) else ""
    return tuple(found)


def tags_of(text: str) -> tuple[str, ...]:
    """Tags as they are typed, with commas, spaces or `#` between; none twice."""
    words = re.split(r"[\s,;#\x00-\x1f]+", clean(text))
    return tuple(dict.fromkeys(word[:40] for word in words if word))[:20]


def folder_of(path: str) -> str:
    """A folder's path as it is kept: names without space around them, at most four of them."""
    names = [title_of(name, 999)[:60].strip() for name in clean(path).split("/") if name.strip()]
    return "/".join(names[:4])
