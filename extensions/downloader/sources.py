"""Where a file's bytes come from: found out once, asked for in ranges, and always the same file."""

import re
import threading
import time
from typing import NamedTuple

from kernel.contract import Refused

from .trouble import Again, Changed, seconds
from .wire import Answer, Home, Wire

RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
LATER = {408, 409, 421, 423, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
GONE = {401, 403, 404, 410}


class Opened(NamedTuple):
    """An answer whose body is about to be read."""

    stop: int | None
    """Where it ends; None when the server does not say."""
    total: int | None
    whole: bool
    """It begins at the beginning, whatever was asked for."""


class Source:
    """One file at one address, asked by several threads.

    The hub's address leads to another, of the file's bytes, which is asked until it is used up.
    `identity` is what the content is called, and may never change.
    """

    def __init__(self, url: str, home: Home, identity: str = "") -> None:
        self.identity, self.ranges = identity, True
        self._url, self._home = url, home
        self._at, self._tag, self._linked = "", "", False
        self._lock = threading.Lock()

    def open(self, wire: Wire, start: int, stop: int | None) -> Opened:
        """Ask for the bytes from `start` to `stop`; None is all. Raises Again, Changed, Refused."""
        with self._lock:
            at, tag = self._at, self._tag
        headers: dict[str, str] = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if at and tag and not tag.startswith("W/"):
                headers["If-Range"] = tag
        answer = wire.get(at or self._url, headers)
        status = answer.response.status
        if status in GONE and at:  # Addresses of bytes last an hour.
            with self._lock:
                self._at = ""
            return self.open(wire, start, stop)
        if status not in (200, 206):
            raise self._trouble(status, answer)
        packed = answer.response.headers.get("Content-Encoding", "identity")
        if packed not in ("", "identity"):
            raise Refused(f"The server sends it packed ({packed}). Take another source.")
        self._known(answer, bool(at))
        return self._placed(status, answer, start)

    def _known(self, answer: Answer, direct: bool) -> None:
        """Compare what the content is called with what it was called before."""
        tag = answer.response.headers.get("ETag", "")
        name = bare(answer.linked or ("" if direct else tag))
        with self._lock:
            if direct and tag == self._tag:
                return
            if direct or (self.identity and name and name != self.identity):
                self._at = ""
            if direct and self._linked:  # The hub's word counts, which is asked again.
                raise Again("The store has another file than the hub said")
            if direct or (self.identity and name and name != self.identity):
                self.identity, self._tag = name or bare(tag), ""
                raise Changed
            self.identity, self._linked = self.identity or name, bool(answer.linked)
            self._at, self._tag = answer.location, tag

    def _placed(self, status: int, answer: Answer, start: int) -> Opened:
        length = answer.response.length
        if status == 200:
            if start:
                self.ranges = False
            return Opened(length, length, True)
        found = RANGE.fullmatch(answer.response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            raise Again("The server sent another part than the one that was asked for")
        stop = int(found[2]) + 1
        return Opened(stop if length is None else start + length, int(found[3]), start == 0)

    def _trouble(self, status: int, answer: Answer) -> Exception:
        told = answer.response.headers
        if status == 416:
            return Again("The server has a smaller file than it said (416)")
        if status in LATER or status >= 500:
            why = "The server is busy" if status == 429 else "The server has a problem"
            return Again(f"{why} ({status})", seconds(told.get("Retry-After"), time.time()))
        if status in GONE and answer.location != self._url and not self._home.owns(answer.location):
            return Again(f"The store does not give it away ({status})")
        if status in (401, 403):
            if told.get("X-Error-Code") == "GatedRepo":
                return Refused(
                    "Its owner wants to be asked first. Open its page on Hugging Face, accept the "
                    "terms there, and set your token in the downloader's settings."
                )
            return Refused(
                f"The server does not give it to you ({status}). It may be private: set a token "
                "that may read it in the downloader's settings."
            )
        if status in (404, 410):
            return Refused(f"It is not there any more ({status}). Get the list of files again.")
        return Refused(f"The server answers {status}, which is no file. Check the address.")


def bare(etag: str) -> str:
    """An ETag without its quotes."""
    return etag.removeprefix("W/").strip('"')
