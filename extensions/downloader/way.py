"""What the files of a download share."""

import threading

from .pace import Pace
from .trouble import Stopped
from .wire import Home
from .xet import Xet


class Way:
    """Where the hub is, how fast, how patient, and the end."""

    def __init__(
        self,
        home: Home,
        pace: Pace,
        threads: int,
        retries: int,
        stall: float,
        unit: float,
        xet: Xet | None = None,
    ) -> None:
        self.home, self.pace, self.threads, self.retries = home, pace, threads, retries
        self.stall, self.unit, self.xet = stall, unit, xet
        self.stop = threading.Event()

    def rest(self, seconds: float) -> None:
        """Sleep; raises Stopped when someone wants the end."""
        if self.stop.wait(max(seconds, 0)):
            raise Stopped
