"""Logits processors as an extension would bring them, good and bad ones."""


class Lean:
    """Adds to the logits of one token, from the second of the reply on."""

    def __init__(self, token, by=100.0):
        self.token, self.by, self.calls = token, by, 0

    def __call__(self, tokens, logits):
        self.calls += 1
        if self.calls > 1:
            logits[self.token] += self.by


class After:
    """Answers other logits: after a token only itself plus one may come."""

    def __init__(self, first=300):
        self.first = first

    def __call__(self, tokens, logits):
        other = logits * 0 - 1000
        other[self.first if not len(tokens) else int(tokens[-1]) + 1] = 0
        return other


class Raise:
    def __call__(self, tokens, logits):
        raise ValueError("no idea")


class Short:
    def __call__(self, tokens, logits):
        return logits[:7]


class Nothing:
    """Leaves what is no number."""

    def __call__(self, tokens, logits):
        logits[3] = float("nan")
