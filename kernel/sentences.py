"""A growing reply as sentences, for speech and for what understands only whole ones."""

import re

from kernel.contract import Delta

END = re.compile(r"[.!?…]+[\"'”\u2019»)\]*_]*\s+|[。\uff01\uff1f]+\s*|\n\s*")
"""A full stop counts once something follows it: “3.14” is no end."""


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
        while (end := END.search(self._open)) and end.end() < len(self._open):
            found.append(self._open[: end.end()])
            self._open = self._open[end.end() :]
        self._said += "".join(found)
        return found

    def end(self) -> str:
        """What is left when the reply has ended."""
        left, self._open = self._open, ""
        return left
