"""How replies of the prebuilt engine share the context, which would fail them all if it overflowed.

llama.cpp's server gives up every reply at once when no cell is left for the next token. So no
reply is told to write more than what surely finds room beside the others.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

LEAST = 32
"""Tokens for which a reply under way goes on rather than wait, and that it writes unheard."""
LOOK = 0.1
"""Seconds between two looks whether who waits was cancelled."""
Kind = Literal["usual", "whole", "growing"]


class Share:
    """What one reply holds of the context.

    A usual one may be told to stop, and goes on later. One that cannot do that holds all that it
    may ever need; where nobody knows that, it grows while it writes.
    """

    def __init__(self, shares: "Shares", kind: Kind) -> None:
        self._shares, self.kind = shares, kind
        self.held = 0
        """Tokens that it has read and may write, while it runs."""
        self.need = 0
        """Tokens without which it cannot go on, while it waits."""
        self.recalled = False
        """It is to stop here and go on later: an older one needs the room."""

    def take(self, read: int, rest: int, cancelled: Callable[[], bool]) -> int:
        """Wait for room: how many of the `rest` of its tokens it may write now; 0: cancelled.

        `read` are those that it has read and written. What fits a fair part of the context is
        granted whole, else a slice of it, after which it is to be asked again.
        """
        return self._shares.take(self, read, rest, cancelled)

    def give(self) -> None:
        """It has stopped, as it was told to."""
        self._shares.give(self)

    def may_write(self, used: int) -> bool:
        """Whether one that grows finds room for more than it holds; else it has to end."""
        return self.kind != "growing" or self._shares.grow(self, used)


class Shares:
    """The context of a model, `cells` tokens long, for `together` replies at once."""

    def __init__(self, cells: int, together: int) -> None:
        self._cells = cells
        self._fair = cells // together
        self._slice = max(LEAST, self._fair // 2)
        self._open: list[Share] = []
        """The older ones come first."""
        self._changed = threading.Condition()

    @contextmanager
    def open(self, kind: Kind = "usual") -> Iterator[Share]:
        """A place in the order for one reply, which holds nothing yet."""
        share = Share(self, kind)
        with self._changed:
            self._open.append(share)
        try:
            yield share
        finally:
            with self._changed:
                self._open.remove(share)
                self._changed.notify_all()

    def take(self, share: Share, read: int, rest: int, cancelled: Callable[[], bool]) -> int:
        """See Share."""
        with self._changed:
            whole = share.kind == "whole" or read + rest <= self._fair
            least = rest if whole else min(rest, LEAST if share.held else self._slice)
            share.need, share.recalled = read + least, False
            while not self._fits(share):
                self.give(share)
                self._changed.wait(LOOK)
                if cancelled():
                    share.need = 0
                    self._changed.notify_all()
                    return 0
            most = least if whole else max(least, min(rest, self._slice, self._free(share) - read))
            share.held, share.need = read + most, 0
            self._changed.notify_all()
            return rest if share.kind == "growing" else most

    def grow(self, share: Share, used: int) -> bool:
        """See Share: it asks early, since what it has written is heard of a little later."""
        if used + 3 * LEAST < share.held or share.held == self._cells:
            return True
        with self._changed:
            more = min(LEAST, self._free(share) - share.held)
            share.held += more
            share.need = 0
            if more < LEAST:
                share.need = share.held + LEAST
                self._recall([each for each in self._open if each is not share])
        return used + LEAST < share.held or share.held == self._cells

    def give(self, share: Share) -> None:
        """It has stopped."""
        with self._changed:
            if share.held:
                share.held = 0
                self._changed.notify_all()

    def _free(self, share: Share) -> int:
        return self._cells - sum(each.held for each in self._open if each is not share)

    def _fits(self, share: Share) -> bool:
        """Whether its turn has come and there is room; else the youngest may have to make it."""
        waiting = [each for each in self._open if each.need]
        if waiting[0] is not share or any(each.held for each in waiting if each is not share):
            return False  # One that grows comes before all: it cannot wait.
        if share.need <= self._free(share):
            return True
        self._recall(self._open[self._open.index(share) + 1 :])
        return False

    def _recall(self, shares: list[Share]) -> None:
        """The youngest gives up its room; one at a time."""
        running = [each for each in shares if each.held and each.kind == "usual"]
        if running and not any(each.recalled for each in running):
            running[-1].recalled = True
