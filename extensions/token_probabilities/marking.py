"""Where each token stands in the text, and how likely it was."""

import math

from kernel.api import Delta, Mark, Token

LEVELS = ((0.9, 1), (0.6, 2), (0.3, 3), (0.1, 4), (0.0, 5))
"""A token that is at least so likely has that level; 1 is the surest."""


def marked(delta: Delta) -> Delta:
    """The delta with a mark for each token that is found in its text, in order."""
    marks: list[Mark] = []
    at, waiting = 0, b""
    for token in delta.tokens:
        waiting += token.bytes
        try:
            text = waiting.decode()
        except UnicodeDecodeError:
            continue  # a character that ends in the next token
        waiting = b""
        start = delta.text.find(text, at) if text else -1
        if start < 0:
            continue  # a special token, or one whose text is held back
        at = start + len(text)
        if token.logprob is not None:
            level = next(level for least, level in LEVELS if math.exp(token.logprob) >= least)
            marks.append(Mark(start, at, f"token_probabilities-{level}", said(token)))
    return Delta(
        delta.text, delta.channel, delta.replace, delta.choice, delta.tokens,
        (*delta.marks, *marks),
    )  # fmt: skip


def said(token: Token) -> str:
    """Its probability, and what else was likely."""
    others = [
        f"{shown(data)} {percent(logprob)}" for data, logprob in token.top if data != token.bytes
    ]
    own = percent(token.logprob or 0.0)
    return f"{own}. Else: {', '.join(others)}" if others else own


def percent(logprob: float) -> str:
    share = math.exp(logprob) * 100
    return f"{share:.0f} %" if share >= 1 else f"{share:.1g} %"


def shown(data: bytes) -> str:
    return f"“{data.decode(errors='replace')}”".replace("\n", "⏎")
