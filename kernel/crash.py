"""Crash points: named places in a write where a test ends the process, to see what survives.

They exist only while the environment names one, as `SPINDLE_KILL_AT=write.synced:3` (the third
time that place is passed); else `kill_at` is an empty function. A kill at random rarely hits the
few microseconds between two steps that matter; this one always does.
"""

import itertools
import os
import signal
from collections.abc import Callable

PLAN = "SPINDLE_KILL_AT"


def _armed() -> Callable[[str], None]:
    passed = itertools.count(1)

    def kill_at(place: str) -> None:
        name, _, nth = os.environ[PLAN].partition(":")
        if place == name and next(passed) == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    return kill_at


kill_at: Callable[[str], None] = _armed() if PLAN in os.environ else lambda place: None
"""Die here, if this is the place."""
