"""How likely tokens were, as plain completions tell it: four lists, and maps of alternatives."""

import codecs
from collections.abc import Sequence

from kernel.api import Token

from .answers import Likely
from .logprobs import LEAST


class Telling:
    """Tells the tokens of one text, in as many parts as it comes in."""

    def __init__(self, top: int) -> None:
        self._top, self._offset = top, 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def told(self, tokens: Sequence[Token]) -> Likely:
        """The next tokens; the first of a prompt has no likelihood."""
        found = Likely(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for token in tokens:
            found.tokens.append(named(token.bytes))
            found.token_logprobs.append(floor(token.logprob))
            found.top_logprobs.append(self._alternatives(token))
            found.text_offset.append(self._offset)
            self._offset += len(self._decoder.decode(token.bytes))
        return found

    def _alternatives(self, token: Token) -> dict[str, float] | None:
        """The likeliest, and the token itself even if it is none of them."""
        if token.logprob is None:
            return None
        found = {named(data): max(logprob, LEAST) for data, logprob in token.top[: self._top]}
        return found if not self._top else found | {named(token.bytes): max(token.logprob, LEAST)}


def floor(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, LEAST)


def named(data: bytes) -> str:
    """A token's text; half a letter by its bytes, as OpenAI writes it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{each:02x}" for each in data)


def joined(parts: Sequence[Likely]) -> Likely:
    """Parts of one text as one."""
    return Likely(
        tokens=[each for part in parts for each in part.tokens],
        token_logprobs=[each for part in parts for each in part.token_logprobs],
        top_logprobs=[each for part in parts for each in part.top_logprobs],
        text_offset=[each for part in parts for each in part.text_offset],
    )
