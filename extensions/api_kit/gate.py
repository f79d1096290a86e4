"""Turns at the model: so many replies at once, the others wait, and no short one behind a long."""

import asyncio
import bisect
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from .problems import Fault, Problem

PACE = 20.0
"""Tokens a second that a reply is guessed to be written at, to tell short ones from long."""
LONGEST = 60.0
"""Seconds that a long reply is put back behind short ones that come after it, at most."""
FULL = (
    "{:,} requests wait for the model already, which is as many as Spindle keeps. Try again in a "
    "moment, or raise the limit in Settings, API kit."
)
BUSY = "This key may have {} under way at once, and has so many. Wait until one has ended."


def full(waiting: int) -> Problem:
    """What is said to who comes while so many wait as are kept."""
    return Problem(Fault(FULL.format(waiting), "rate_limit_error", None, "queue_full"))


class Ticket:
    """A place in the queue, of who may have so many replies at once (0: any number)."""

    def __init__(self, owner: str, most: int) -> None:
        self.owner, self.most = owner, most
        self.called: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Gate:
    """Lets in `room()` replies at once and the rest by their deadlines: the moment they came plus
    the seconds they are guessed to take. So a title does not wait for essays that came with it, and
    an essay waits a minute at most for titles that came after.

    Who may have fewer requests at once is refused more. The replies of one request that are more
    than that wait for one another, and hold up nobody else's.
    """

    def __init__(self, room: Callable[[], int], longest: Callable[[], int]) -> None:
        self._room, self._longest = room, longest
        self._inside: Counter[str] = Counter()
        """Replies that are made, by whose they are."""
        self._requests: Counter[tuple[str, object]] = Counter()
        """Replies under way, and waits for a model before them, by whose they are and of which
        request."""
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, Ticket]] = []
        """In the order of their deadlines."""
        self._places: dict[Ticket, int] | None = None
        """Of those who wait, once for all who look until one comes or goes."""

    @property
    def room(self) -> int:
        """Replies that it lets in at once."""
        return self._room()

    @property
    def longest(self) -> int:
        """Requests that may be in the queue."""
        return self._longest()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(not ticket.called.done() for _, _, ticket in self._waiting)

    def before(self, ticket: Ticket) -> int:
        """How many are before this one."""
        if self._places is None:
            rest = (each for _, _, each in self._waiting if not each.called.done())
            self._places = {each: place for place, each in enumerate(rest)}
        return self._places.get(ticket, 0)

    @asynccontextmanager
    async def turn(
        self,
        owner: str,
        tokens: int,
        most: int = 0,
        queued: Callable[[Ticket], None] = lambda ticket: None,
        request: object = None,
        together: int = 0,
    ) -> AsyncGenerator[Callable[[], None]]:
        """Wait for one's turn and have it, until the end or until it is given on by a call of what
        this yields. `most` are the requests that this owner may have under way, and the replies at
        once; 0: any number. `together` are the replies at once where that is less: the others
        wait. `queued` hears of the place where one has to wait, and `request` is
        what several replies may be of. Raises Problem (429)."""
        ticket = Ticket(owner, together or most)
        with self.under_way(owner, most, ticket if request is None else request):
            if not self._may(ticket) and self.waiting >= self.longest:
                raise full(self.waiting)
            await self._enter(ticket, tokens, queued)
            with ExitStack() as leaving:
                leaving.callback(self._leave, owner)
                yield leaving.close

    @contextmanager
    def under_way(self, owner: str, most: int, request: object) -> Iterator[None]:
        """Count this request among the `most` that its owner may have, or one reply of several
        that it is of. Raises Problem (429)."""
        mine = owner, request
        others = sum(whose == owner for whose, _ in self._requests)
        if most and mine not in self._requests and others >= most:
            raise Problem(Fault(BUSY.format(most), "rate_limit_error", None, "too_many_requests"))
        self._requests[mine] += 1
        try:
            yield
        finally:
            self._requests[mine] -= 1
            self._requests += Counter()  # Forgets what is not under way any more.

    def admit(self) -> None:
        """Call who is next, as long as there is room; also after the room has grown."""
        for _, _, ticket in self._waiting:
            if self._inside.total() >= self._room():
                break
            if not ticket.called.done() and self._may(ticket):
                ticket.called.set_result(None)
                self._inside[ticket.owner] += 1
        self._waiting = [each for each in self._waiting if not each[-1].called.done()]
        self._places = None

    def _may(self, ticket: Ticket) -> bool:
        """Whether there is room for it, and its owner has not as many as it may have."""
        mine = self._inside[ticket.owner]
        return self._inside.total() < self._room() and not mine >= ticket.most > 0

    def _leave(self, owner: str) -> None:
        self._inside[owner] -= 1
        self._inside += Counter()
        self.admit()

    async def _enter(self, ticket: Ticket, tokens: int, queued: Callable[[Ticket], None]) -> None:
        deadline = asyncio.get_running_loop().time() + min(tokens / PACE, LONGEST)
        bisect.insort(self._waiting, (deadline, next(self._numbers), ticket))
        self.admit()
        if ticket.called.done():
            return
        queued(ticket)
        try:
            await ticket.called
        except asyncio.CancelledError:
            if ticket.called.done() and not ticket.called.cancelled():  # Called, and gone.
                self._leave(ticket.owner)
            ticket.called.cancel()
            self._places = None
            raise
