"""What the page shows of requests: nothing of what was asked or said."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from extensions.api_kit.api import Run, Runs

LAST, MOST = 20, 50
"""Requests that have ended and are still shown, and of those under way the oldest."""
WHO = {"page": "A page", "local": "A program on this machine", "key": "The owner's key"}
STATES = {
    "waiting": "waits for its model", "reading": "the model reads", "writing": "the model writes",
    "done": "done", "cancelled": "stopped", "failed": "failed",
}  # fmt: skip


class Rows:
    """The requests under way, oldest first, and the last that ended, newest first."""

    def __init__(self, runs: Runs, labels: Callable[[], Mapping[str, str]]) -> None:
        """`labels` tells what APIs are called, by their ids."""
        self._runs, self._labels = runs, labels
        self._ended: deque[dict[str, Any]] = deque(maxlen=LAST)
        """Without their runs, which hold whole conversations."""

    def ended(self, run: Run) -> None:
        """One that has come to its end."""
        self._ended.appendleft(self._row(run, self._labels()))

    def find(self, id: str) -> Run | None:
        """One that is under way."""
        return next((run for run in self._runs.live if run.id == id), None)

    def now(self) -> Mapping[str, Any]:
        """For the templates."""
        labels, live = self._labels(), self._runs.live
        return {
            "live": [self._row(run, labels) for run in islice(live, MOST)],
            "more": max(0, len(live) - MOST),
            "ended": [*self._ended],
        }

    def _row(self, run: Run, labels: Mapping[str, str]) -> dict[str, Any]:
        end = run.ended or time.monotonic()
        writing = end - run.first if run.first else 0.0
        place = self._runs.gate.before(run.ticket) + 1 if run.ticket else 0
        return {
            "id": run.id,
            "who": run.caller.name or WHO.get(run.caller.kind, run.caller.kind),
            "api": labels.get(run.api, run.api),
            "model": run.model,
            "state": run.state,
            "says": f"waits, number {place}" if place else STATES[run.state],
            "why": run.finish.error if run.ended else "",
            "tokens": run.tokens,
            "speed": round(run.tokens / writing, 1) if writing > 0.2 else None,
            "first": round(run.first - run.began, 2) if run.first else None,
            "seconds": round(end - run.asked, 1),
        }
