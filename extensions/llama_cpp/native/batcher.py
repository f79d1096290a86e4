"""Continuous batching: in each step every reply gets a token, and prompts are read beside them.

One thread owns the context and calls `step`; `cancel` may be called from another.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from extensions.llama_cpp.native.context import ABORTED, FULL, Context, OutOfMemory
from extensions.llama_cpp.native.prefixes import Prefixes
from extensions.llama_cpp.native.row import Adapters, Row
from kernel.contract import Output, Refused

PAUSE = 0.1
"""Seconds that replies may stand still while prompts are read beside them; what is read in a memory
of its own may take as long once more, and then a piece."""
WHILE = 1.0
"""Seconds that a step reads prompts where nobody writes: who comes meanwhile waits for its end. 512
tokens of a model of a billion parameters take 5.8 s on two cores so, and 5.7 s in one step."""
SCORED = 64
"""Tokens of texts whose every score is wanted that are read in a step, for the scores of each take
as much room as the model has tokens."""
LEAST, FIRST = 32, 64
"""Tokens of prompts read in a step, however slow that is; and before anything was measured."""


class Batcher:
    """The requests that run, those that wait, and the next step of all of them."""

    def __init__(
        self,
        context: Context,
        prefixes: Prefixes,
        switch: Callable[[Adapters], None],
        *,
        limit: int,
        keep: int = -1,
    ) -> None:
        self._context, self._prefixes, self._switch = context, prefixes, switch
        self.limit = limit
        """Tokens that one request may read and write."""
        self._keep = keep
        """Tokens at the beginning that stay when a full context shifts; -1: it does not shift."""
        self._waiting: deque[Row] = deque()
        self._rows: list[Row] = []
        self._cancelled: set[int] = set()
        self._stepping: Sequence[Row] = ()
        self._lock = threading.Lock()
        self._told: list[Output] = []
        """What is new of the last step; it is owed where that fails."""
        self._crowded = False
        """Whether those that run are all that find room, until one of them ends."""
        self._speed = 0.0
        """Tokens of prompts read in a second, as measured."""
        self._adapters: Adapters = ()

    @property
    def busy(self) -> bool:
        return bool(self._rows or self._waiting)

    def add(self, row: Row) -> None:
        self._waiting.append(row)

    def cancel(self, id: int) -> None:
        """End a request, within the step under way where nobody else takes part in that."""
        with self._lock:
            self._cancelled.add(id)
            if self._in_vain():
                self._context.stop()

    def step(self) -> list[Output]:
        """Advance all requests by one decode step; what is new of each."""
        outputs = self._told = list[Output]()
        if self._cancelled:
            outputs += self._leave()
        if self._waiting:
            self._admit()
        if self._prefixes.untidy and self._rows:
            self._prefixes.tidy(self._rows)
        writing, reading = self._gather(self._read_beside(outputs))
        if not self._context.batch.used:
            return outputs
        taking_part = [*writing, *(row for row, _ in reading)] if reading else writing
        # `cancel` notes who it is about before it looks who takes part; here it is the other way
        # round, so that one of them sees the other. A stop that comes too late ends the next
        # step, which is then done again.
        self._stepping = taking_part
        begun = time.monotonic()
        code = ABORTED if self._cancelled and self._in_vain() else self._context.decode()
        self._stepping = ()
        if code == FULL:
            return [*outputs, *self._make_room()]
        if code == ABORTED:
            self._look_again(writing, reading)
            return [*outputs, *self._leave()]
        for row in writing:
            row.past += 1
        if reading:
            outputs += self._advance(reading)
            self._learn(reading, time.monotonic() - begun)
        self._choose(taking_part, outputs)
        return outputs

    def end(self, error: str) -> list[Output]:
        """End every request with an error: the step failed, and nothing that sequences remember
        can be relied on any more."""
        rows = (*self._rows, *self._waiting)
        for row in rows:
            self._drop(row)
        self._prefixes.forget_all()
        return [*self._told, *(row.finish("error", error) for row in rows)]

    def _in_vain(self) -> bool:
        """Whether all who take part in the step were cancelled."""
        rows = self._stepping
        return bool(rows) and all(row.id in self._cancelled for row in rows)

    # --- before the step ---

    def _leave(self) -> list[Output]:
        with self._lock:
            cancelled, self._cancelled = self._cancelled, set()
        leaving = [row for row in (*self._rows, *self._waiting) if row.id in cancelled]
        for row in leaving:
            self._drop(row)
        return [row.finish("cancelled") for row in leaving]

    def _drop(self, row: Row) -> None:
        if row in self._rows:
            self._rows.remove(row)
            self._prefixes.release(row)
            self._crowded = False
        else:
            self._waiting.remove(row)
        row.chooser.close()

    def _admit(self) -> None:
        for row in tuple(self._waiting):
            if self._crowded or not self._prefixes.place(row, self._rows):
                continue
            self._waiting.remove(row)
            self._rows.append(row)

    def _read_beside(self, outputs: list[Output]) -> Collection[Row]:
        """Let choosers read on that read more than their row; those that cannot choose yet. Who
        writes does so in each step; the others take turns, at least one of them in each."""
        late: list[Row] = []
        begun, spent = time.monotonic(), False
        rows = [row for row in self._rows if row.behind]
        for row in sorted(rows, key=lambda row: (row.reading, row.read_on)):
            try:
                if (spent and row.reading) or self._reads_on(row):
                    late.append(row)
                    outputs.append(Output(row.id, progress=row.past / len(row.tokens)))
            except Exception as error:
                outputs.append(failed(row, error))
                self._drop(row)
            spent = spent or (row.reading and time.monotonic() - begun > PAUSE)
        return late

    def _reads_on(self, row: Row) -> bool:
        """Read a piece beside it; whether there is more."""
        row.read_on = time.monotonic()
        return bool(row.behind and row.behind())

    def _gather(self, late: Collection[Row]) -> tuple[list[Row], list[tuple[Row, int]]]:
        """Fill the batch: the replies of one set of adapters, and what prompts of it find room; who
        is `late` does not choose."""
        batch = self._context.batch
        batch.clear()
        if not self._rows:
            return [], []
        self._take_turns()
        writing: list[Row] = []
        waiting: list[Row] = []
        for row in self._rows:
            if row.adapters != self._adapters:
                continue
            if row.reading:
                waiting.append(row)
            elif row not in late:
                row.at = batch.add(row.last, row.past, row.sequence)
                writing.append(row)
        if not waiting:
            return writing, []
        quick = int(self._speed * (PAUSE if writing else WHILE)) if self._speed else FIRST
        budget = min(batch.room, max(LEAST, quick))
        reading: list[tuple[Row, int]] = []
        scored = SCORED
        for number, row in enumerate(waiting):
            share = budget // (len(waiting) - number)
            share = min(share, scored) if row.whole else share
            count = min(len(row.tokens) - row.past - (row in late), share)
            scored -= count if row.whole else 0
            if count:
                end = row.past + count
                last = end == len(row.tokens)
                part = row.tokens[row.past : end]
                row.at = batch.extend(part, row.past, row.sequence, last=last, every=row.whole)
                reading.append((row, count))
                budget -= count
        return writing, reading

    def _take_turns(self) -> None:
        """Requests with other adapters cannot share a step: the sets take turns."""
        now = self._adapters
        for row in self._rows:
            if row.adapters != now:
                break
        else:
            return
        sets = list(dict.fromkeys(row.adapters for row in self._rows))
        turn = sets.index(now) + 1 if now in sets else 0
        chosen = sets[turn % len(sets)]
        if chosen != now:
            self._switch(chosen)
            self._adapters = chosen

    # --- after it ---

    def _learn(self, reading: list[tuple[Row, int]], seconds: float) -> None:
        count = sum(count for _, count in reading)
        if count >= LEAST and seconds > 0:
            now = count / seconds
            self._speed = now if not self._speed else 0.7 * self._speed + 0.3 * now

    def _advance(self, reading: list[tuple[Row, int]]) -> Iterable[Output]:
        for row, count in reading:
            row.past += count
            row.hear(self._context, count)
            if row.past < len(row.tokens):
                yield Output(row.id, progress=row.past / len(row.tokens))

    def _choose(self, rows: list[Row], outputs: list[Output]) -> None:
        model, context = self._context.model, self._context
        for row in rows:
            if row.reading and row.past < len(row.tokens):
                continue
            try:
                outputs += row.choose(context, model)
            except Exception as error:  # One request's sampler costs no other reply.
                outputs.append(failed(row, error))
            if row.finished:
                self._drop(row)
            elif row.past >= self.limit:
                outputs += self._shift(row)

    def _shift(self, row: Row) -> list[Output]:
        """Make room in a full conversation by forgetting its middle; else it ends here."""
        begin = min(self._keep, row.past // 2)
        end = begin + (row.past - begin) // 2
        room = self._prefixes.make_room
        if self._keep < 0 or not self._context.cut_out(row.sequence, begin, end, room):
            row.past = self._context.length(row.sequence)  # What failed may have forgotten it all.
            self._drop(row)
            return row.end()
        row.forgot(begin, end)
        return []

    def _make_room(self) -> list[Output]:
        """There was no room: forget idle conversations, then take the youngest's memory away."""
        if self._prefixes.make_room():
            return []
        youngest = self._rows[-1]
        if len(self._rows) == 1:
            self._drop(youngest)
            return youngest.end()
        self._crowded = True
        self._rows.remove(youngest)
        self._prefixes.release(youngest)
        self._prefixes.make_room()
        youngest.put_back()
        self._waiting.appendleft(youngest)
        return []

    def _look_again(self, writing: list[Row], reading: list[tuple[Row, int]]) -> None:
        """A step that was stopped may have been carried out in part."""
        cuttable = self._context.model.cuttable
        for row in (*writing, *(row for row, _ in reading)):
            if cuttable and row.reading and not row.whole:
                row.past = max(row.past, self._context.length(row.sequence))
            elif not self._context.forget(row.sequence, row.past):  # What was not heard, or all.
                sequence = row.sequence
                row.put_back()
                row.sequence = sequence


def failed(row: Row, error: Exception) -> Output:
    if isinstance(error, Refused):
        return row.finish("error", str(error), error.refused)
    if isinstance(error, OutOfMemory):
        says = f"The memory ran out while {error}. Shorten what is sent, or load the model with"
        return row.finish("error", f"{says} less context.")
    return row.finish("error", f"Its sampler failed: {error}")
