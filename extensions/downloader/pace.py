"""How fast it may go: one budget of bytes for all downloads, and how long to wait after a fault."""

import random
import threading
import time
from collections.abc import Callable


class Pace:
    """A limit that all threads share: what one takes, the next waits for, in their order."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._rate, self._free = 0.0, 0.0

    def limit(self, rate: float) -> None:
        """Bytes a second from now on; 0 is no limit."""
        with self._lock:
            self._rate, self._free = rate, self._clock()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._rate > 0

    @property
    def portion(self) -> int:
        """Bytes to read at once, so that a slow pace is an even one."""
        return max(4096, int(self._rate / 20)) if self._rate else 1 << 30

    def took(self, count: int) -> float:
        """Note what came, and answer for how many seconds to rest."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now) + count / self._rate
            return self._free - now


def pause_after(fails: int, asked: float | None, unit: float) -> float:
    """Seconds to wait after so many failures in a row: what the server asks for, or twice as long
    each time and never quite the same, so that a thousand clients do not come back at once."""
    if asked is not None:
        return asked * unit
    return min(2.0 ** min(fails - 1, 6), 60.0) * random.uniform(0.75, 1.25) * unit
