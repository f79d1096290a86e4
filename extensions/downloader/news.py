"""How a download is to go, and how far it is: plain data between worker and server."""

from collections.abc import Mapping

from kernel.contract import Struct, built

from .plan import Plan


@built
class News(Struct, frozen=True):
    """How far a download is, as the worker tells it."""

    have: int
    """Bytes that are on the disk, those of before too."""
    total: int
    done: int
    """Files that are right."""
    files: int
    fetched: int = 0
    """Bytes that came over the network since it went on."""
    now: tuple[str, ...] = ()
    """What is being fetched: some of it."""
    rests: str = ""
    """Why nothing moves, if nothing does."""
    failed: Mapping[str, str] = {}
    """By path, what was given up and why."""
    aside: str = ""
    """What else there is to say of how the bytes come."""
    full: str = ""
    """The disk is full: what that means."""


@built
class Wishes(Struct, frozen=True):
    """How to fetch."""

    threads: int = 4
    retries: int = 7
    stall: float = 20.0
    """Seconds without a byte until a connection counts as broken."""
    unit: float = 1.0
    """How long a second of waiting is: less, in tests."""
    clean: bool = False
    """Forget what was begun before."""
    xet: bool = False
    """What the hub keeps by Xet may come through Xet's own client."""

    @property
    def patience(self) -> tuple[int, int, float, float]:
        return self.threads, self.retries, self.stall, self.unit


class DownloadMoved(Struct, frozen=True):
    """News of a download: bytes came, it changed its state, or it is gone."""

    id: str


class Downloaded(Struct, frozen=True):
    """A download is whole and in its place."""

    plan: Plan
