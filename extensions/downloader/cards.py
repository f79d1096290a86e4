"""A model's card: what its head says of licence and origin, and its text without what a page would
do.

Nothing here makes it safe: the chat's reader does, to which all HTML is text and no picture loads.
This takes away what would only be noise then: tags, comments, styles, banners.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from kernel.api import Malformed, Struct, read_yaml

from .planning import plain

LONGEST = 60_000
"""Characters of a card that are shown."""
HEAD = 20_000
"""Characters of its head that are read."""
FACT = 200
SILENT = {"script", "style", "svg", "iframe", "object", "template", "noscript", "video", "audio"}
"""Elements that go with all that is in them."""
BLOCKS = {"address", "article", "aside", "blockquote", "br", "center", "dd", "details", "div", "dl",
          "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5",
          "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary",
          "table", "tbody", "thead", "tfoot", "tr", "ul"}  # fmt: skip
"""Elements that begin a line."""
INLINE = {
    "a", "abbr", "b", "base", "bdi", "bdo", "big", "body", "button", "caption", "cite",
    "code", "col", "colgroup", "del", "dfn", "em", "embed", "font", "head", "html", "i",
    "img", "input", "ins", "kbd", "label", "link", "mark", "math", "meta", "option",
    "picture", "q", "s", "samp", "select", "small", "source", "span", "strike", "strong",
    "sub", "sup", "td", "textarea", "th", "time", "title", "tt", "u", "var", "wbr",
}  # fmt: skip
"""The others. What is none of HTML's, as <think>, is a word that the card talks about."""
TAG = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*)(?=[\s/>])[^>]*>")
CODE = re.compile(r"(`[^`\n]{1,300}`)")
PICTURE = re.compile(
    r"!\[[^\[\]]{0,500}\](?:\([^()\s]{0,2000}(?:\s+\"[^\"]{0,500}\")?\)|\[[^\]]{0,200}\])"
)
EMPTY_LINK = re.compile(r"\[\s*\]\([^()\s]{0,2000}\)")
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)


class Card(Struct, frozen=True):
    """What a card says."""

    text: str = ""
    """Markdown."""
    licence: str = ""
    base: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    cut: bool = False
    """There is more of it."""


def card_of(text: str) -> Card:
    """Read a README.md; a head that is none is shown as text."""
    head, body = _parted(plain(text.replace("\r\n", "\n")))
    facts = _facts(head)
    licence = _word(facts.get("license_name") or facts.get("license"))
    if licence == "other":
        licence = _word(facts.get("license_name")) or "its own"
    return Card(
        cleaned(body[:LONGEST]),
        licence,
        tuple(_words(facts.get("base_model"))),
        tuple(_words(facts.get("language")))[:20],
        len(body) > LONGEST,
    )


def cleaned(text: str) -> str:
    """Markdown without HTML and pictures; what stands in blocks of code stays as it is."""
    parts: list[str] = []
    for code, part in _fenced(text):
        if code:
            parts.append(part)
            continue
        pieces = CODE.split(_uncommented(part))
        part = "".join(_untagged(pieces))
        part = EMPTY_LINK.sub("", PICTURE.sub("", part))
        lines = (line if line.strip() else "" for line in part.split("\n"))
        parts.append(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)))
    return "".join(parts).strip()


def _uncommented(text: str) -> str:
    """Without comments; one that never ends is text."""
    parts: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start)) >= 0:
        parts.append(text[at:start])
        at = end + 3
    return "".join((*parts, text[at:]))


def _untagged(pieces: Sequence[str]) -> Iterator[str]:
    """Texts without HTML's tags; each second one is code, and stays."""
    silent = ""
    for number, piece in enumerate(pieces):
        if number % 2:
            yield "" if silent else piece
            continue
        first, *others = piece.split("<")
        yield "" if silent else first
        for other in others:
            tag = TAG.match(other)
            name = tag[1].lower() if tag else ""
            if silent:
                if name == silent and other.startswith("/"):
                    silent = ""
                    yield other[tag.end() :] if tag else ""
                continue
            if not tag or name not in SILENT | BLOCKS | INLINE:
                yield f"<{other}"
                continue
            if name in SILENT and not other.startswith("/"):
                silent = name
                continue
            yield "\n" if name in BLOCKS else ""
            yield other[tag.end() :]


def _fenced(text: str) -> Iterator[tuple[bool, str]]:
    """A text as what stands inside and outside blocks of code, in order."""
    at, opened = 0, ""
    for found in FENCE.finditer(text):
        fence = found[1]
        if not opened:
            yield False, text[at : found.start()]
            at, opened = found.start(), fence
        elif fence[0] == opened[0] and len(fence) >= len(opened):
            yield True, text[at : found.end()]
            at, opened = found.end(), ""
    yield bool(opened), text[at:]


def _parted(text: str) -> tuple[str, str]:
    """The head between two lines of dashes, and the rest."""
    if not text.startswith("---\n"):
        return "", text
    end = text.find("\n---", 3, HEAD)
    return ("", text) if end < 0 else (text[4:end], text[end + 4 :].lstrip("-"))


def _facts(head: str) -> dict[str, Any]:
    """The head as a mapping; one that cannot be read says nothing."""
    try:
        facts = read_yaml(head)
    except Malformed:
        return {}
    return cast(dict[str, Any], facts) if isinstance(facts, dict) else {}


def _word(value: Any) -> str:
    if isinstance(value, list) and value:
        value = cast(list[Any], value)[0]
    return " ".join(str(value).split())[:FACT] if isinstance(value, str | int | float) else ""


def _words(value: Any) -> list[str]:
    each = cast(list[Any], value) if isinstance(value, list) else [value]
    return [word for word in map(_word, each[:50]) if word]
