"""What was asked since Spindle started, as numbers that only grow."""

from bisect import bisect_left
from collections import Counter

from extensions.api_kit.api import Run

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""The upper ends of what durations are sorted into."""


class Spread:
    """How durations are spread, as Prometheus has it in a histogram."""

    def __init__(self) -> None:
        self._in = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._in[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """How many lasted so many seconds or less, for each upper end."""
        ends, sum_ = [*(f"{end:g}" for end in SECONDS), "+Inf"], 0
        found: list[tuple[str, float]] = []
        for end, many in zip(ends, self._in, strict=True):
            sum_ += many
            found.append((end, sum_))
        return found


class Counts:
    """Requests by their API and end, their tokens, and how long they took."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.tokens: Counter[str] = Counter()
        self.waiting, self.first, self.whole = Spread(), Spread(), Spread()

    def add(self, run: Run) -> None:
        """A request that has ended."""
        usage = run.finish.usage
        self.requests[run.api, run.state] += 1
        self.tokens["prompt"] += usage.prompt
        self.tokens["cached"] += usage.cached
        self.tokens["completion"] += run.tokens
        self.whole.add(run.ended - run.asked)
        if run.began:
            self.waiting.add(run.began - run.asked)
        if run.first:
            self.first.add(run.first - run.began)
