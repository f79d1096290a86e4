"""A text that pages and a model write on at the same time."""

import itertools
import time
from collections import deque
from collections.abc import Callable

from kernel.api import Refused, Reply

from .edits import Region, Splice, clean, point, units

REMEMBERED = 500
"""Changes that one which comes late is fitted to."""
UNDOS = 100
"""Generations that can be taken back, one after the other."""
MOST = 2_000_000
"""Letters of a text; more of them no model reads, and no text box is quick with."""
NOTHING = "Nothing was generated in this text. Generate first."
LONG = f"A text has at most {MOST:,} characters. Begin a new one."


class Change:
    """What pages are told; it was `fitted` where its author knew an older text."""

    def __init__(self, splice: Splice, author: str = "", *, fitted: bool = False) -> None:
        self.splice, self.author, self.fitted = splice, author, fitted


Listener = Callable[["Sheet", Change | None], None]
"""Told of each change of a sheet's text, and without one of a change of its state."""


class Sheet:
    """A text, its revision, and what the model wrote of it."""

    def __init__(self, name: str, box: str, text: str, tell: Listener) -> None:
        self.name, self.box, self.text = name, box, clean(text)
        self.revision = time.time_ns() // 1_000_000
        """Grows with each change, and over restarts too: what a page has never fits by chance."""
        self.reply: Reply | None = None
        self.busy = False
        self.error = ""
        """Why the last generation failed."""
        self.again = ""
        """The action that tries it again."""
        self.unsaved = ""
        """Why it cannot be kept at present."""
        self.saved = True
        self._tell = tell
        self._first = self.revision
        self._log: deque[Splice] = deque(maxlen=REMEMBERED)
        self._taken: deque[str] = deque(maxlen=REMEMBERED)
        self._regions: list[Region] = []

    @property
    def taken(self) -> list[str]:
        """The ids of the changes that pages sent last: what arrived need not be sent again."""
        return [*itertools.islice(reversed(self._taken), 20)]

    @property
    def undoable(self) -> bool:
        return any(not region.empty for region in self._regions)

    # --- what pages change -------------------------------------------------------------

    def edit(self, revision: int, change: Splice, id: str, author: str) -> bool:
        """A change that a page made of the text as it was at `revision`. False where it knows a
        text that nobody remembers: it has to look at this one first."""
        behind = self.revision - revision
        if not 0 <= behind <= len(self._log):
            return False
        change = Splice(change.at, change.cut, clean(change.put))
        for earlier in [*self._log][len(self._log) - behind :]:
            change = change.after(earlier)
        if change.growth > 0 and len(self.text) + change.growth > MOST:
            raise Refused(LONG)
        self._taken.append(id)
        self._splice(change, author, fitted=bool(behind))
        return True

    def replace(self, text: str) -> None:
        """All of it anew, as another program left it."""
        text = clean(text)
        if text != self.text:
            self._splice(Splice(0, units(self.text), text))

    # --- what the model writes ---------------------------------------------------------

    def begin(self) -> Region:
        """A generation begins at the end of the text."""
        region = Region(units(self.text))
        self._regions = [*self._regions[1 - UNDOS :], region]
        return region

    def append(self, region: Region, words: str) -> None:
        """What the model says comes at the end of its region, before what is typed after it."""
        words = clean(words)
        self._splice(Splice(region.end, 0, words), region=region)
        region.end += units(words)

    def rewrite(self, region: Region, words: str) -> None:
        """A modifier replaced all that was said."""
        if not region.empty:
            self._splice(region.cut, region=region)
        region.end = region.begin
        self.append(region, words)

    def begin_with(self, text: str, former: str, region: Region) -> None:
        """Put a text before a region, in place of the former one; where somebody changed that
        meanwhile, it stays above."""
        before = self.text[: point(self.text, region.begin)]
        kept = 0 if before == former else region.begin
        text = f"\n\n{text}" if kept else text
        self._splice(Splice(kept, region.begin - kept, text), region=region)
        region.begin = region.end = kept + units(text)

    def undo(self) -> None:
        """Take back the last generation; what was typed elsewhere since stays."""
        while self._regions:
            region = self._regions.pop()
            if not region.empty:
                return self._splice(region.cut)
        raise Refused(NOTHING)

    @property
    def last(self) -> Region:
        """What was generated last; it may have come to nothing."""
        if not self._regions:
            raise Refused(NOTHING)
        return self._regions[-1]

    def remove(self, region: Region) -> None:
        """Take back a generation, which may have come to nothing."""
        self._regions.remove(region)
        if not region.empty:
            self._splice(region.cut)

    def stop(self) -> None:
        if self.reply:
            self.reply.cancel()

    def tell(self) -> None:
        """Say that its state changed: it is being written, or no longer, or it cannot be."""
        self._tell(self, None)

    # --- inside ------------------------------------------------------------------------

    def _splice(
        self,
        change: Splice,
        author: str = "",
        *,
        fitted: bool = False,
        region: Region | None = None,
    ) -> None:
        self.text = change.on(self.text)
        self.revision += 1
        self._log.append(change)
        for each in self._regions:
            if each is not region:
                each.follow(change)
        self.saved = False
        self._tell(self, Change(change, author, fitted=fitted))
