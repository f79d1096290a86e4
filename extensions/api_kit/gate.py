"""Turns at the model: so many replies at once, the others wait, and no short one behind a long."""

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from .problems import Fault, Problem

PACE = 20.0
"""Tokens a second that a reply is guessed to be written at, to tell short ones from long."""
LONGEST = 60.0
"""Seconds that a long reply is put back behind short ones that come after it, at most."""
FULL = (
    "{:,} requests wait for the model already, which is as many as Spindle keeps. Try again in a "
    "moment, or raise the limit in Settings, API kit."
)
BUSY = "{} replies for this key are under way, and it may have so many at once. Wait for one."


class Ticket:
    """A place in the queue."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.called: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Gate:
    """Lets in `room()` replies at once and the rest by their deadlines: the moment they came plus
    the seconds they are guessed to take. So a title does not wait for essays that came with it, and
    an essay waits a minute at most for titles that came after."""

    def __init__(self, room: Callable[[], int], longest: Callable[[], int]) -> None:
        self._room, self._longest = room, longest
        self._inside = 0
        self._of: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, Ticket]] = []

    @property
    def room(self) -> int:
        """Replies that it lets in at once."""
        return self._room()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(not ticket.called.done() for _, _, ticket in self._waiting)

    def before(self, ticket: Ticket) -> int:
        """How many are before this one."""
        order = sorted(self._waiting, key=lambda each: each[:2])
        rest = [each for _, _, each in order if not each.called.done()]
        return rest.index(ticket) if ticket in rest else 0

    @asynccontextmanager
    async def turn(
        self,
        owner: str,
        tokens: int,
        most: int = 0,
        queued: Callable[[Ticket], None] = lambda ticket: None,
    ) -> AsyncGenerator[Callable[[], None]]:
        """Wait for one's turn and have it, until the end or until it is given on by a call of what
        this yields. `most` are the replies that this owner may have; 0: any number. `queued` hears
        of the place where one has to wait. Raises Problem (429)."""
        if most and self._of[owner] >= most:
            raise Problem(Fault(BUSY.format(most), "rate_limit_error", None, "too_many_requests"))
        waits = self.waiting or self._inside >= self._room()
        if waits and self.waiting >= self._longest():
            says = FULL.format(self.waiting)
            raise Problem(Fault(says, "rate_limit_error", None, "queue_full"))
        self._of[owner] += 1
        try:
            await self._enter(owner, tokens, queued)
            inside = True

            def leave() -> None:
                nonlocal inside
                if inside:
                    inside = False
                    self._inside -= 1
                    self.admit()

            try:
                yield leave
            finally:
                leave()
        finally:
            self._of[owner] -= 1
            self._of += Counter()  # Forgets who has nothing under way.

    def admit(self) -> None:
        """Call who is next, as long as there is room; also after the room has grown."""
        while self._waiting and self._inside < self._room():
            _, _, ticket = heapq.heappop(self._waiting)
            if not ticket.called.done():
                ticket.called.set_result(None)
                self._inside += 1

    async def _enter(self, owner: str, tokens: int, queued: Callable[[Ticket], None]) -> None:
        if self._inside < self._room() and not self.waiting:
            self._inside += 1
            return
        ticket = Ticket(owner)
        deadline = asyncio.get_running_loop().time() + min(tokens / PACE, LONGEST)
        heapq.heappush(self._waiting, (deadline, next(self._numbers), ticket))
        self.admit()
        queued(ticket)
        try:
            await ticket.called
        except asyncio.CancelledError:
            if ticket.called.done() and not ticket.called.cancelled():  # Called, and gone.
                self._inside -= 1
                self.admit()
            ticket.called.cancel()
            raise
