"""The markup that words of a model may become, and nothing else: read from HTML as it is sent."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser

LINK = {"href": r"(?i:https?://|mailto:).*", "title": r".*", "rel": r"noopener noreferrer",
        "target": r"_blank"}  # fmt: skip
SIDE = {"class": r"left|center|right"}
ALLOWED: Mapping[str, Mapping[str, str]] = {
    **{f"h{n}": {} for n in range(1, 7)},
    "p": {}, "ul": {}, "li": {}, "blockquote": {}, "em": {}, "strong": {}, "s": {}, "hr": {},
    "br": {}, "table": {}, "thead": {}, "tbody": {}, "tr": {}, "th": SIDE, "td": SIDE,
    "ol": {"start": r"\d+"}, "a": LINK,
    "code": {}, "pre": {"tabindex": r"0"}, "header": {},
    "div": {"class": r"code", "id": r"chat-m\w+-thought-\d+"},
    "span": {"class": r"[a-z0-9 ]*", "id": r"chat-m\w+-code"},
    "button": {"type": r"button", "data-copy": r"", "data-wrap": r""},
    "q": {}, "chat-math": {"class": r"display"},
    "details": {"class": r"chat-thought", "id": r"chat-m\w+-thinking-\d+", "open": r""},
    "summary": {"id": r"chat-m\w+-took-\d+"},
}  # fmt: skip
"""Each element with its attributes, and what these may hold."""
VOID = {"hr", "br"}


class Reader(HTMLParser):
    """Finds what is not allowed, or not closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.words = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        rules = ALLOWED.get(tag)
        if rules is None:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            rule = (rules or {}).get(name)
            if rule is None or not re.fullmatch(rule, value or "", re.DOTALL):
                self.wrong.append(f"<{tag} {name}={value!r}>")
        if len({name for name, _ in attrs}) < len(attrs):
            self.wrong.append(f"<{tag}> says something twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.wrong.append(f"<{tag} /> closes nothing")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.wrong.append(f"<!{decl}>")

    def handle_pi(self, data: str) -> None:
        self.wrong.append(f"<?{data}>")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"<![{data}]>")


def wrong(html: str) -> list[str]:
    """What of some HTML is not allowed; nothing, if all is."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    return [*reader.wrong, *(f"<{tag}> stays open" for tag in reader.open)]
