"""One file of a download, from its first byte to a part that is whole and right."""

import threading
import time
from pathlib import Path

from kernel.contract import Refused

from .checking import is_right
from .pace import pause_after
from .parts import Part, hash_of
from .plan import Item
from .sources import Opened, Source
from .trouble import Again, Changed, Stopped
from .way import Way
from .wire import Wire
from .xet import Stream, Xet

SMALLEST, LARGEST = 4 << 20, 64 << 20
"""Of a range that one thread fetches, in bytes."""
ENOUGH = 1 << 20
"""Bytes that count as progress, so that a server which only drips is given up some time."""
WRITE = 1 << 19
OFTEN = 0.25
"""Seconds after which even little is written: what is on the disk is what is told."""
DAMAGED = 3
"""So many times a file may come damaged."""
TAKEN = (
    "There is a file of this name already: another one, or this one with damage. Move it away, "
    "then try again."
)


class File:
    """A file on its way. `state` is new, open, right, here (it was in its place already) or
    failed; until `ready` (seconds of the clock) it rests after a fault. What lies in its place
    gives way, unless it is `alone`: then that may be another model."""

    def __init__(
        self, item: Item, target: Path, part: Path, way: Way, *, alone: bool = False
    ) -> None:
        self.item, self.target, self.part_file = item, target, part
        self._alone = alone
        self.state, self.why = "new", ""
        self.ready = 0.0
        self.away = False
        """It failed because nobody answered."""
        self.part: Part | None = None
        self._way = way
        self._fails = self._damages = self._at_last = 0
        self._fault = ""
        """What it rests for, until a byte comes again."""
        self._faults = 0
        """How many there were, in all; by range, how many there were when it was taken."""
        self._before: dict[int, int] = {}
        self._lock = threading.RLock()
        self._source = Source(item.url, way.home)
        self._single = False
        self._chunks: int | None = None
        """The range that Xet's client has, or had last."""
        self._ending = False
        make, self._wanted = hash_of(item.size, item.sha256, item.etag)
        self._make = make

    @property
    def have(self) -> int:
        """Bytes of it that are on the disk."""
        if self.state in ("here", "right"):
            return self.item.size
        return self.part.have if self.part else 0

    @property
    def rests(self) -> str:
        """Why nothing comes, and when it is tried again; "" while it does."""
        fault, left = self._fault, self.ready - time.monotonic()
        soon = f" in {left:.0f} s" if left >= 1 else ""
        return f"{fault}; trying again{soon}" if fault else ""

    @property
    def taken(self) -> bool:
        """Whether another file has its place, which does not give way."""
        return self._alone and self.target.exists()

    # --- beginning ---

    def begin(self) -> None:
        """Look at what is there already, and take that up. Raises Refused."""
        self.part = Part(self.part_file, self.item.path, self.item.size, self._make)
        if self.part.right and not self._is_still_right(self.part):
            self.part.restart()
        self._source.identity = self.part.identity
        if self.part.right:
            self._close("right")
        elif self._in_place():
            self._close("here")
        elif self.taken:
            raise Refused(TAKEN)
        else:
            with self._lock:  # It may have been given up meanwhile, with all others.
                if self.state == "new":
                    self.state = "open"
                else:
                    self.part.close()

    def _is_still_right(self, part: Part) -> bool:
        """Whether a part that was right once is what is wanted now: the repository may have got
        another file of that size."""
        same = part.identity == self.item.etag
        return same or is_right(self.part_file, self.item, self._way.stop)

    def _in_place(self) -> bool:
        """Whether the file is where it belongs, and right; without a hash its size must do."""
        if self.target.is_symlink() or not self.target.is_file():
            return False
        return is_right(self.target, self.item, self._way.stop)

    # --- fetching ---

    def take(self) -> int | None:
        """A range for a thread, if there is one."""
        assert self.part
        key = self._range(self.part)
        if key is not None:
            self._before[key] = self._faults
        return key

    def _range(self, part: Part) -> int | None:
        xet = self._way.xet
        # What was begun under another name is left to plain bytes: they find out what it is now.
        same = self._source.identity in ("", self.item.etag)
        if xet and same and xet.serves(self.item):
            key = xet.turn(lambda: part.take(self.item.size))
            self._chunks = self._chunks if key is None else key
            return key
        if not self._single:
            most = self.item.size // (self._way.threads * 8)
            return part.take(max(SMALLEST, min(LARGEST, most)))
        if part.busy or part.whole:
            return None
        if part.have:
            part.restart(part.identity)
        return part.take(self.item.size)

    def fetch(self, key: int, wire: Wire, buffer: memoryview) -> None:
        """Fetch a range; whatever goes wrong, what came stays and the rest is for another time."""
        assert self.part
        part, before = self.part, self._before.pop(key)
        try:
            if self._way.xet and key == self._chunks:
                self._pull_chunks(self._way.xet, part, key, wire, buffer)
            else:
                self._pull(part, key, wire, buffer)
        except Changed as change:
            self._anew(part, change, before)
        except Again as error:
            self._way.rest(0)  # A connection that was cut for the end is no fault.
            self._note(error, before)
        finally:
            part.give_back(key)
            wire.finish()

    def _pull(self, part: Part, key: int, wire: Wire, buffer: memoryview) -> None:
        span = part.range(key)
        while span and span[0] < span[1]:
            start, stop = span
            all_of_it = start == 0 and stop == part.size
            opened = self._source.open(wire, start, None if all_of_it else stop)
            self._fits(part, opened, start)
            part.name(self._source.identity)
            stop = min(stop, opened.stop or stop)
            self._pour(part, key, wire, buffer, start, stop)
            wire.finish()
            after = part.range(key)
            if after and after[0] < after[1] and after[0] - start < ENOUGH:
                raise Again("The server sent less than it was asked for")
            span = after

    def _pull_chunks(self, xet: Xet, part: Part, key: int, wire: Wire, buffer: memoryview) -> None:
        """A range by Xet's client; what it fails at is left to plain bytes."""
        self._source.identity = self._source.identity or self.item.etag
        part.name(self._source.identity)
        try:
            if span := part.range(key):
                self._pour(part, key, xet.open(self.item, *span, wire), buffer, *span)
        except (Again, Refused) as error:
            self._way.rest(0)  # A client that was ended for the end is no fault.
            xet.give_up(str(error))
        finally:
            xet.done()

    def _fits(self, part: Part, opened: Opened, start: int) -> None:
        """What the server is about to send must be the file that was asked for, from there on."""
        if opened.whole and start:
            self._single = True  # It cannot send a part: all of it, then, in one piece.
            raise Changed("")
        if opened.total is not None and opened.total != part.size:
            raise Again(
                f"The server has a file of {opened.total:,} bytes, not of {part.size:,}: "
                "it is another, or a page that says why there is none"
            )

    def _pour(
        self,
        part: Part,
        key: int,
        wire: Wire | Stream,
        buffer: memoryview,
        start: int,
        stop: int,
    ) -> None:
        way, at, filled, due = self._way, start, 0, time.monotonic() + OFTEN
        try:
            while at + filled < stop:
                room = min(len(buffer) - filled, stop - at - filled, way.pace.portion)
                count = wire.read(buffer[filled : filled + room])
                if way.stop.is_set():
                    raise Stopped
                if not count:
                    raise Again("The connection ended too early")
                filled += count
                if filled == len(buffer) or at + filled == stop or time.monotonic() >= due:
                    written, filled = filled, 0
                    if not part.write(key, buffer[:written], self._still):
                        return
                    self._fault = ""
                    at, due = at + written, time.monotonic() + OFTEN
                if pause := way.pace.took(count):
                    way.rest(pause)
        finally:
            if filled:
                part.write(key, buffer[:filled], self._still)

    def _still(self, _: int) -> None:
        """What was there before may take minutes to hash: a wish for the end ends that."""
        self._way.rest(0)

    def _anew(self, part: Part, change: Changed, before: int) -> None:
        """Begin again, once for all threads that find the change."""
        with self._lock:
            if change.told and part.identity != self._source.identity:
                part.restart(self._source.identity)
        if change.told:
            self._note(Again(change.told, after=0), before)

    # --- faults ---

    def _note(self, error: Again, before: int) -> None:
        """Rest, longer each time; bytes that came since the last fault make it the first again.

        `before` are the faults that there were when it was tried: ranges that fail together are
        one try of the file, however many threads there are.
        """
        assert self.part
        with self._lock:
            now, asked = time.monotonic(), error.after
            came = self.part.fetched - self._at_last >= min(ENOUGH, max(self.item.size // 4, 1))
            self._fault = str(error)
            if before < self._faults and not came:
                self.ready = max(self.ready, now + (asked or 0.0) * self._way.unit)
                return
            self._fails = 1 if came else self._fails + 1
            self._faults, self._at_last = self._faults + 1, self.part.fetched
            if self._fails > self._way.retries:
                self.away = error.away
                often = f", {self._fails} times" if self._fails > 1 else ""
                return self.fail(f"{error}{often}. Try again later.")
            self.ready = now + pause_after(self._fails, asked, self._way.unit)

    def fail(self, why: str) -> None:
        """It does not go on; what is there stays."""
        with self._lock:
            if self.state in ("open", "new"):
                self.why = why
                self._close("failed")

    def _close(self, state: str) -> None:
        self.state, self._fault = state, ""
        if self.part:
            self.part.close()

    # --- the end ---

    def ends(self) -> bool:
        """Whether all is there and nobody checks it yet; who is told so checks it."""
        with self._lock:
            whole = self.state == "open" and bool(self.part) and self.part.whole
            mine, self._ending = whole and not self._ending, whole
            return mine

    def check(self) -> None:
        """Compare the hash; a file that came damaged is fetched anew, a few times."""
        assert self.part
        found = self.part.digest(self._still)
        if self._wanted and found != self._wanted:
            self._damages += 1
            if self._way.xet and self._chunks:
                self._way.xet.give_up("What came is not the file")
            self.part.restart(self._source.identity)
            self._ending = False  # only now, or another thread would check what is gone
            if self._damages < DAMAGED:
                return self._note(Again("It came damaged and is fetched anew"), self._faults)
            return self.fail(
                f"It came damaged {DAMAGED} times: its hash is not the one the hub names. "
                "Try again later, or through another network."
            )
        if not self.part.settle():
            self._ending = False
            return self._note(Again("It was begun anew meanwhile"), self._faults)
        self._close("right")
