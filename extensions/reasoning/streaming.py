"""The deltas of a reply, its thoughts in a channel of their own."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator

from kernel.api import Delta, Token, Turn

from .splitting import Piece, Splitter


class Stream:
    """One choice of a reply: text in, deltas out."""

    def __init__(self, choice: int, begun: str, rewriting: bool) -> None:
        self._choice, self._rewriting = choice, rewriting
        self._splitter = Splitter(begun)
        self._said: list[str] | None = [] if rewriting else None
        """The answer so far, while it may still turn out to be a thought."""
        self._tokens: deque[tuple[int, Token]] = deque()
        """Tokens, and up to where they reach in what was heard."""
        self._heard = self._given = 0

    def passes(self, delta: Delta) -> bool:
        """Whether it can be given on as it is: as nearly always, and at no cost."""
        if self._tokens or not delta.text or not self._splitter.passes(delta.text):
            return False
        self._heard += len(delta.text)
        self._given = self._heard
        self._remember(delta.text)
        return True

    def hear(self, delta: Delta) -> Iterator[Delta]:
        if not delta.text and not self._tokens:
            yield delta
            return
        pieces = self._splitter.feed(delta.text)
        self._count(delta)
        if len(pieces) == 1 and pieces[0].words == delta.text and pieces[0].kind == "text":
            self._given = self._heard
            self._tokens.clear()
            self._remember(delta.text)
            yield delta  # As nearly always: all of it, with its tokens and marks.
        else:
            yield from self._deltas(pieces)

    def end(self) -> Iterator[Delta]:
        yield from self._deltas(self._splitter.end())

    # --- inside ------------------------------------------------------------------------

    def _count(self, delta: Delta) -> None:
        """A token is given on with the last letter of its own."""
        at, end = self._heard, self._heard + len(delta.text)
        for token in delta.tokens:
            at += len(token.bytes.decode(errors="ignore"))
            self._tokens.append((min(at, end), token))
        self._heard = end

    def _deltas(self, pieces: Iterable[Piece]) -> Iterator[Delta]:
        for kind, words in pieces:
            self._given += len(words)
            tokens = self._passed()
            if kind == "unopened":
                yield from self._unopened(words)
            elif kind == "reasoning":
                self._said = None
                yield Delta(words, "reasoning", choice=self._choice, tokens=tokens)
            elif kind == "text":
                self._remember(words)
                yield Delta(words, choice=self._choice, tokens=tokens)

    def _passed(self) -> tuple[Token, ...]:
        tokens: list[Token] = []
        while self._tokens and self._tokens[0][0] <= self._given:
            tokens.append(self._tokens.popleft()[1])
        return tuple(tokens)

    def _remember(self, words: str) -> None:
        if self._said is not None:
            self._said.append(words)

    def _unopened(self, tag: str) -> Iterator[Delta]:
        """All that was said was a thought; what a program was told cannot be taken back."""
        if self._said is None:
            yield Delta(tag, choice=self._choice)
            return
        said, self._said = "".join(self._said), None
        yield Delta("", replace=True, choice=self._choice)
        if said.strip():
            yield Delta(said.strip(), "reasoning", choice=self._choice)


async def apart(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    """The modifier: thoughts leave the text for the channel `reasoning`."""
    streams: dict[int, Stream] = {}
    rewriting = bool(turn.client)
    begun = turn.begun or str(turn.options.get("start_reply_with", ""))
    async for delta in deltas:
        if delta.channel != "text":
            yield delta
            continue
        stream = streams.get(delta.choice)
        if stream and not delta.replace and stream.passes(delta):
            yield delta
            continue
        if delta.replace:
            for channel in ("text", "reasoning") if stream else ():
                yield Delta("", channel, replace=True, choice=delta.choice)
            stream = None
        if not stream:
            stream = streams[delta.choice] = Stream(delta.choice, begun, rewriting)
        for each in stream.hear(delta):
            yield each
    for stream in streams.values():
        for each in stream.end():
            yield each
