"""Finds the tags of thoughts in words that come in pieces of any size, but not in code."""

import re
from collections.abc import Iterable
from typing import Literal

from extensions.engine_kit.api import CHANNELS, PAIRS

SAYS = tuple(
    (f"{start}<|channel|>{name}<|message|>", name)
    for start in ("", "<|start|>assistant")
    for name in CHANNELS
)
THINKS = {**PAIRS, **{tag: "<|end|>" for tag, name in SAYS if name != CHANNELS[-1]}}
"""How a thought begins, and how that one ends."""
SILENT = frozenset({tag for tag, name in SAYS if name == CHANNELS[-1]}) | {
    "<|end|>", "<|return|>", "<|start|>assistant",
}  # fmt: skip
"""What else GPT-OSS writes around its messages: it begins no thought, and nobody says it."""
UNOPENED = frozenset({"</think>", "</seed:think>", "[/THINK]"})
"""Ends that may come without a beginning."""
TAGS = (*THINKS, *SILENT, *UNOPENED)
FOUND = re.compile("|".join(map(re.escape, sorted(TAGS, key=len, reverse=True))) + r"|`+|~{3,}|\n")
SOMETHING = re.compile(r"[<\[`~]")
LINE = 200
"""Characters of a line that are looked at: whether it is empty before a tag."""


Kind = Literal["answer", "thought", "begins", "ends", "silent", "unopened"]
"""Of words; and of a tag: `unopened` is an end that nothing began."""


class Tags:
    """Gives the words back in order and the tags between them, as soon as each is certain.

    In a block of code and between backticks a tag is a word like any other.
    """

    def __init__(self) -> None:
        self._held = ""
        self.ends = ""
        """How the thought that is being written ends; empty: an answer is written."""
        self._seen = self._channels = False
        self._line, self._fence, self._span = "", "", 0
        """The line that is written, and the code that is open: its fence, or its backticks."""

    def feed(self, words: str) -> list[tuple[Kind, str]]:
        if not words:
            return []
        if self.passes(words):
            return [("answer", words)]
        self._held += words
        return self._take(last=False)

    def passes(self, words: str) -> bool:
        """Whether these words are of an answer, and hold nothing that might be a tag."""
        if self._held or self.ends or SOMETHING.search(words):
            return False
        self._pass(words)
        return True

    def end(self) -> list[tuple[Kind, str]]:
        """What was held back, now that nothing follows."""
        return self._take(last=True)

    def goes_on(self, words: str) -> bool:
        """Whether these words are of the thought that is being written, and nothing else."""
        return bool(self.ends) and not self._held and self.ends[0] not in words

    def forget(self) -> None:
        """What is held back came to nothing."""
        self._held = ""

    # --- inside ------------------------------------------------------------------------

    def _take(self, *, last: bool) -> list[tuple[Kind, str]]:
        taken: list[tuple[Kind, str]] = []
        while self._held:
            words, tag = self._of_a_thought(last) if self.ends else self._of_an_answer(last)
            self._held = self._held[len(words) + len(tag) :]
            if words:
                taken.append(("thought" if self.ends else "answer", words))
            if not tag:
                break
            taken.append((self._turn(tag), tag))
        return taken

    def _pass(self, words: str) -> None:
        """Go on after words without any mark."""
        if "\n" in words:
            *lines, words = words.split("\n")
            for line in lines:
                if not (self._line + line).strip():
                    self._span = 0
                self._line = ""
        self._line = (self._line + words)[-LINE:]

    def _of_a_thought(self, last: bool) -> tuple[str, str]:
        """The words up to the thought's end, and that, or what of them is certain."""
        at = self._held.find(self.ends)
        if at >= 0:
            return self._held[:at], self.ends
        hold = 0 if last else overlap(self._held, (self.ends,))
        return self._held[: len(self._held) - hold], ""

    def _of_an_answer(self, last: bool) -> tuple[str, str]:
        """The words up to a tag, and that, or what of them is certain."""
        held, at = self._held, 0
        while found := FOUND.search(held, at):
            mark, start = found[0], found.start()
            self._line = (self._line + held[at:start])[-LINE:]
            if not last and unsure(held[start:], mark):
                return held[:start], ""
            if mark[0] in "<[" and self._counts(mark):
                return held[:start], mark
            self._read(mark, held[found.end() :])
            at = found.end()
        end = len(held) - (0 if last else overlap(held[at:], TAGS))
        self._line = (self._line + held[at:end])[-LINE:]
        return held[:end], ""

    def _counts(self, tag: str) -> bool:
        """Whether it is one, and not spoken of."""
        if self._channels and tag not in UNOPENED:
            return True
        if self._fence or (self._span and self._line.strip()):
            return False
        if tag in UNOPENED:
            return not self._seen
        return tag in THINKS or "<|channel|>" in tag

    def _turn(self, tag: str) -> Kind:
        """Go on after a tag, and say what it was."""
        self._channels = self._channels or "<|channel|>" in tag
        self._span = 0
        if self.ends:
            self.ends = ""
            return "ends"
        if tag in THINKS:
            self.ends, self._seen = THINKS[tag], True
            return "begins"
        self._seen = self._seen or tag in UNOPENED
        return "unopened" if tag in UNOPENED else "silent"

    def _read(self, mark: str, rest: str) -> None:
        """Go on after something else: a line's end, backticks, a tag that is spoken of."""
        if mark == "\n":
            if not self._line.strip():
                self._span = 0  # A paragraph ends, and with it what was left open.
            self._line = ""
            return
        alone = not self._line.strip()
        if self._fence:
            same = mark[0] == self._fence[0] and len(mark) >= len(self._fence)
            if same and alone and not rest.partition("\n")[0].strip():
                self._fence = ""
        elif alone and mark[0] in "`~" and len(mark) >= 3:
            self._fence, self._span = mark, 0
        elif mark[0] == "`" and self._span in (0, len(mark)):
            self._span = 0 if self._span else len(mark)
        self._line = (self._line + mark)[-LINE:]


def unsure(words: str, mark: str) -> bool:
    """Whether what follows may make something else of it."""
    if mark[0] in "`~":
        return len(words) == len(mark)
    return any(len(tag) > len(words) and tag.startswith(words) for tag in TAGS)


def overlap(words: str, tags: Iterable[str]) -> int:
    """How many characters at the end may be the beginning of a tag."""
    tags = tuple(tags)
    most = min(len(words), max(map(len, tags)) - 1)
    for length in range(most, 0, -1):
        end = words[-length:]
        if any(tag.startswith(end) for tag in tags):
            return length
    tail = len(words) - len(words.rstrip("~"))  # Two of them may become a fence.
    return tail if len(tags) > 1 else 0
