"""A line of progress in a terminal, and now and then one in a log."""

import sys
import time

EVERY = 10.0
"""Seconds between two lines where nothing can be drawn over."""
WIDTH = 20


def say(text: str) -> None:
    """Write a line, which may have been drawn over before."""
    sys.stdout.write(text.encode(errors="replace").decode() + "\n")
    sys.stdout.flush()


class Bar:
    """How far something is, drawn over and over."""

    def __init__(self) -> None:
        self._drawn, self._due = False, 0.0

    def draw(self, fraction: float, note: str) -> None:
        """Show the part that is done, from 0 to 1, and a few words."""
        now = time.monotonic()
        if sys.stdout.isatty():
            full = round(fraction * WIDTH)
            bar = "█" * full + "░" * (WIDTH - full)
            sys.stdout.write(f"\r\x1b[K{bar} {fraction:4.0%}  {note[:70]}")
            sys.stdout.flush()
            self._drawn = True
        elif now >= self._due:
            self._due = now + EVERY
            say(f"{fraction:4.0%}  {note}")

    def finish(self, note: str) -> None:
        """Say that all of it is done, in a line that stays."""
        if sys.stdout.isatty():
            self.draw(1.0, note)
            say("")
            self._drawn = False
        else:
            say(f"{1:4.0%}  {note}")

    def end(self) -> None:
        """Leave the line."""
        if self._drawn:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
        self._drawn = False
