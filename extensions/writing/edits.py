"""One change of a text, and what becomes of it when another one came first.

Places are counted as browsers count them: in units of UTF-16.
"""

from kernel.api import Struct


class Splice(Struct, frozen=True):
    """`cut` units go at the place `at`, and `put` comes there."""

    at: int
    cut: int
    put: str = ""

    @property
    def end(self) -> int:
        return self.at + self.cut

    @property
    def growth(self) -> int:
        return units(self.put) - self.cut

    def after(self, first: "Splice") -> "Splice":
        """The same change where `first` was made before: no word of either is lost."""
        if self.end <= first.at and not (self.at == self.end == first.at == first.end):
            return self
        if self.at >= first.end:
            return Splice(self.at + first.growth, self.cut, self.put)
        beyond = max(0, self.end - first.end)
        if self.at >= first.at:  # It began within what is gone: it comes behind what is new there.
            return Splice(first.end + first.growth, beyond, self.put)
        cut = first.at - self.at + units(first.put) + beyond
        return Splice(self.at, cut, self.put + first.put)

    def on(self, text: str) -> str:
        """The text with this change."""
        begin, end = point(text, self.at), point(text, self.end)
        return text[:begin] + self.put + text[end:]


class Region:
    """A part of a text that the model wrote; it moves along when something else changes."""

    def __init__(self, at: int) -> None:
        self.begin = self.end = at

    @property
    def empty(self) -> bool:
        return self.begin == self.end

    @property
    def cut(self) -> Splice:
        """The change that takes it out."""
        return Splice(self.begin, self.end - self.begin)

    def follow(self, change: Splice) -> None:
        """What is put at either end of it is not part of it."""
        begin, end = self.begin, self.end
        if change.at >= end:
            return
        if change.end <= begin:
            self.begin, self.end = begin + change.growth, end + change.growth
            return
        self.begin = begin if change.at >= begin else change.end + change.growth
        self.end = max(self.begin, end + change.growth if change.end <= end else change.at)


def units(text: str) -> int:
    """The length of a text as a browser counts."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def point(text: str, unit: int) -> int:
    """Where in Python's counting a place lies; one inside of a letter counts as before it."""
    unit, most = max(0, unit), units(text)
    if unit >= most:
        return len(text)
    if most == len(text):
        return unit
    data = text.encode("utf-16-le", "surrogatepass")[: 2 * unit]
    return len(data.decode("utf-16-le", "ignore"))


def clean(text: str) -> str:
    """As a text box holds it: one kind of line end, and no NUL."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
