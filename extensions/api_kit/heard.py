"""What a reply has said so far, by its channels."""

from collections import defaultdict

from kernel.api import Delta, Token


class Heard:
    """What one reply has said so far."""

    def __init__(self) -> None:
        self.said: dict[str, list[str]] = defaultdict(list)
        self.tokens: list[Token] = []

    def hear(self, delta: Delta) -> None:
        pieces = self.said[delta.channel]
        if delta.replace:
            pieces.clear()
        pieces.append(delta.text)
        if delta.channel == "text":
            self.tokens += delta.tokens

    def text(self, channel: str = "text") -> str:
        return "".join(self.said[channel])
