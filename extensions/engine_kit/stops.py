"""Text from tokens: characters and stop strings may begin in one token and end in another."""

import codecs
from collections import deque
from collections.abc import Sequence

from kernel.contract import Delta, Token


class StopStrings:
    """Gives text on as soon as it cannot be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=0)
        self._begins = frozenset(stop[0] for stop in self._stops)
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """What may be shown, and the stop string that was reached or ""."""
        if not self._held and self._begins.isdisjoint(text):
            return text, ""  # as nearly always: no letter with which one begins
        text = self._held + text
        found = [(text.find(stop) + len(stop), -len(stop), stop) for stop in self._stops]
        found = [each for each in found if each[0] + each[1] >= 0]
        if found:  # the one that ends first, as if the text came letter by letter
            end, _, stop = min(found)
            self._held = ""
            return text[: end - len(stop)], stop
        hold = min(self._longest - 1, len(text))
        while hold > 0 and not any(stop.startswith(text[-hold:]) for stop in self._stops):
            hold -= 1
        hold = max(hold, 0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold], ""

    def flush(self) -> str:
        """What was held back; for when the reply ends otherwise."""
        held, self._held = self._held, ""
        return held


class TextStream:
    """A reply's text from the bytes of its tokens, with stop strings.

    `lead` is what its prompt began of it already: said before its first words.
    """

    def __init__(self, stops: Sequence[str] = (), lead: str = "") -> None:
        self.lead = lead
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._split = False
        """The bytes so far end within a letter."""
        self._stops = StopStrings(stops)
        self._tokens: deque[tuple[int, Token]] = deque()
        self._read = self._given = 0

    def feed(self, data: bytes | str, tokens: Sequence[Token] = ()) -> tuple[Delta | None, str]:
        """The next delta, if there is something to show, and the stop string reached or "".

        Tokens are given on together with the last letter of theirs.
        """
        text = data if isinstance(data, str) else self._decode(data)
        self._read += len(text)
        if tokens:
            self._tokens.extend((self._read, token) for token in tokens)
        text, stop = self._stops.feed(text)
        return self._delta(text), stop

    def end(self) -> Delta | None:
        """What was held back."""
        return self._delta(
            self._stops.flush() + self._stops.feed(self._decoder.decode(b"", True))[0]
        )

    def _decode(self, data: bytes) -> str:
        if not self._split:
            try:
                return data.decode()  # the decoder would take several times as long
            except UnicodeDecodeError:
                self._split = True
        text = self._decoder.decode(data)
        self._split = bool(self._decoder.getstate()[0])
        return text

    def _delta(self, text: str) -> Delta | None:
        self._given += len(text)
        if text and self.lead:
            text, self.lead = self.lead + text, ""
        if not self._tokens:
            return Delta(text) if text else None
        tokens: list[Token] = []
        while self._tokens and self._tokens[0][0] <= self._given:
            tokens.append(self._tokens.popleft()[1])
        return Delta(text, tokens=tuple(tokens)) if text or tokens else None
