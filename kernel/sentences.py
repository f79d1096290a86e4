"""A growing reply as sentences, for speech and for what understands only whole ones."""

import re

from kernel.contract import Delta

SHORT = r"(?<!^\d)(?<!^\d\d)(?<!\b(?:Dr|Mr|Ms|St|vs))(?<!\b(?:Mrs|e\.g|i\.e|z\.B))(?<!\bProf)"
"""Before a full stop that ends none: the number of a line, or a word that is shortened."""
END = re.compile(
    rf"(?<![.!?…]){SHORT}[.!?…]++[\"'”\u2019»)\]*_]*+\s+|[。\uff01\uff1f।؟\u06d4]+\s*|\n\s*"
)
"""A full stop counts once something follows it: “3.14” is no end."""
LONGEST = 500
"""Characters; what is longer is cut after a word, or anywhere where there are no blanks."""


class Sentences:
    """Gives each sentence of a reply's text once it is complete, with the space behind it."""

    def __init__(self) -> None:
        self._open, self._said = "", ""

    def hear(self, delta: Delta) -> list[str]:
        """The sentences that this delta completed. A replacing delta begins where it differs."""
        if delta.channel != "text" or delta.choice:
            return []
        text = delta.text
        if delta.replace:
            if not text.startswith(self._said):
                self._said = ""
            self._open, text = "", text[len(self._said) :]
        self._open += text
        found: list[str] = []
        at = 0
        while end := _end(self._open[at : at + LONGEST + 1]):
            found.append(self._open[at : at + end])
            at += end
        self._said += self._open[:at]
        self._open = self._open[at:]
        return found

    def end(self) -> str:
        """What is left when the reply has ended."""
        left, self._open = self._open, ""
        return left


def _end(text: str) -> int:
    """Where the first sentence ends, or 0 as long as that is not known."""
    end = END.search(text, 0, LONGEST)
    if end and end.end() < len(text):
        return end.end()
    return (text.rfind(" ", 0, LONGEST) + 1 or LONGEST) if len(text) > LONGEST else 0
