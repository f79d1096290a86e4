"""Speech: what stands between quotation marks becomes <q>, which a style may colour."""

from markdown_it.rules_core import StateCore
from markdown_it.token import Token

MARKS = {'"': '"', "“": "”", "„": "“”", "«": "»", "»": "«", "「": "」", "『": "』"}
"""What opens a speech, and what may close it."""
BEFORE = "([{-—…“"
"""What may stand before a straight one, beside nothing and a space."""


def speech(state: StateCore) -> None:
    """Mark the speeches of each paragraph; one that does not end in it is left as it is."""
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = marked(token.children)


def marked(children: list[Token]) -> list[Token]:
    """The tokens with those of speeches around them; both marks stand on one level."""
    found: list[Token] = []
    opened: tuple[str, int, int] | None = None
    for child in children:
        if child.type != "text":
            found.append(child)
            if opened and child.level < opened[1]:
                opened = None  # The emphasis or link in which it began has ended.
            continue
        start = 0
        for place, letter in enumerate(child.content):
            if opened and child.level == opened[1] and letter in MARKS[opened[0]]:
                if child.content[max(0, place - 1) : place].isspace():
                    continue  # 5" wide
                found += [text(child, child.content[start : place + 1]), Token("q_close", "q", -1)]
                found.insert(opened[2], Token("q_open", "q", 1))
                start, opened = place + 1, None
            elif not opened and letter in MARKS and begins(child.content, place):
                if place > start:
                    found.append(text(child, child.content[start:place]))
                start, opened = place, (letter, child.level, len(found))
        if start < len(child.content):
            found.append(text(child, child.content[start:]))
    return found


def begins(words: str, place: int) -> bool:
    """Whether a mark opens a speech: a straight one only where a word may begin."""
    before = words[max(0, place - 1) : place]
    return words[place] != '"' or not before or before.isspace() or before in BEFORE


def text(like: Token, words: str) -> Token:
    return Token("text", "", 0, content=words, level=like.level)
