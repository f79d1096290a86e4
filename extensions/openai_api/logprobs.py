"""How likely tokens were, as OpenAI tells it."""

from collections.abc import Iterable

from kernel.api import Token

from .answers import TokenLogprob, Top

LEAST = -9999.0
"""JSON has no infinity; OpenAI writes this."""


def told(tokens: Iterable[Token], top: int) -> list[TokenLogprob]:
    """The tokens of a piece of text; `top` alternatives of each."""
    return [
        TokenLogprob(
            token=text(token.bytes),
            logprob=LEAST if token.logprob is None else max(token.logprob, LEAST),
            bytes=[*token.bytes],
            top_logprobs=[
                Top(token=text(data), logprob=max(logprob, LEAST), bytes=[*data])
                for data, logprob in token.top[:top]
            ],
        )
        for token in tokens
    ]


def text(data: bytes) -> str:
    """Half a letter is shown as a sign that stands for it."""
    return data.decode(errors="replace")
