"""What can go wrong with a file, by what is to be done then; `Refused` is for good."""


class Again(Exception):
    """It may go well later; `after` are the seconds that the server asked for, if it did. `away`
    tells that nobody answered at all."""

    def __init__(self, why: str, after: float | None = None, away: bool = False) -> None:
        super().__init__(why)
        self.after, self.away = after, away


class Changed(Exception):
    """The server has another file now than the one that was begun: nothing of that is of use.
    `told` is what people hear; a server that only sends a file whole is no fault to tell of."""

    def __init__(self, told: str = "The file at the server has changed; it is begun anew") -> None:
        super().__init__(told)
        self.told = told


class Stopped(Exception):
    """Someone said so; what is there stays for the next time."""


class Full(Exception):
    """The disk takes no more; what is there stays, and the whole download pauses."""


def seconds(header: str | None, now: float) -> float | None:
    """What `Retry-After` asks for, as a number or as a date; five minutes are the most."""
    if not header:
        return None
    if header.strip().isdecimal():
        return min(float(header), 300.0)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - rarely needed, and large

    try:
        return min(max(parsedate_to_datetime(header).timestamp() - now, 0.0), 300.0)
    except ValueError:
        return None


def size_of(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
