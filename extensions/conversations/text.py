"""Words on their way into and out of the store: cleaned, shortened, identified."""

import re
import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: sorts like the number it stands for, nothing looks like something else."""


def clean(text: str) -> str:
    """Make `text` storable: halves of characters become whole where they can, else U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def new_id() -> str:
    """Sixteen characters: the millisecond, then 35 random bits; readable order, never relied on."""
    number = time.time_ns() // 1_000_000 << 35 | secrets.randbits(35)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))


def title_of(text: str, length: int = 60) -> str:
    """Take the beginning of a message, cut between words, as a conversation's title."""
    words = re.sub(r"[\s\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]+", " ", text[:1000])
    words = words.strip()
    if len(words) <= length:
        return words or "New conversation"
    head, _, rest = words[: length + 1].rpartition(" ")
    return (head if len(head) > length // 2 else (head + " " + rest)[:length].strip()) + "…"


def excerpt(text: str, terms: list[str], around: int = 40) -> tuple[str, str, str]:
    """The first of `terms` in `text` with its surroundings: before, hit, after."""
    for term in terms:
        if found := re.search(re.escape(term), text, re.IGNORECASE):
            start, end = found.span()
            before = ("…" if start > around else "") + text[max(0, start - around) : start]
            after = text[end : end + around] + ("…" if end + around < len(text) else "")
            return before, found[0], after
    return "", "", text[: 2 * around]
