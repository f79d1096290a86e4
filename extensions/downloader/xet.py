"""Xet's own client as a source of bytes: who may use it when, its key, and its end."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from .pace import Pace
from .plan import Item, Plan
from .trouble import Again
from .wire import Home, Wire, lies_inside

CLIENT = Path(__file__).with_name("xet_client.py")
WORTH = 16 << 20
"""Bytes below which plain ones are here before the client has begun."""
SPENT = 75
"""The client's exit status when its key is used up."""
KEY = 1 << 16
"""Bytes that the hub's answer with a key may have."""
ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
"""Of Xet: nothing in it that the client could read otherwise than we do."""
INSTEAD = "Xet's client gave up, so plain bytes come."


class Xet:
    """What the files of a download share: one runs at a time, with connections of its own, until
    it fails once; then all come as plain bytes."""

    def __init__(
        self, plan: Plan, home: Home, pace: Pace, folder: Path, threads: int, stall: float
    ) -> None:
        self.trouble = ""
        """Why plain bytes come instead."""
        here = find_spec("hf_xet") is not None  # not on every kind of processor
        self._usable = here and bool(home.address and plan.repo and plan.commit)
        commit = quote(plan.commit, safe="")
        self._route = f"{home.address}/api/models/{plan.repo}/xet-read-token/{commit}"
        self._home, self._pace, self.folder = home, pace, folder
        self.threads, self.stall = threads, stall
        self._lock, self._taken = threading.Lock(), False
        self._stream: Stream | None = None
        self._ended = False

    def serves(self, item: Item) -> bool:
        """Whether it is the way for a file: it keeps no limit, and what it brings is checked."""
        known = bool(item.xet and item.sha256) and self._home.owns(item.url)
        free = not self.trouble and not self._pace.limited
        return self._usable and known and free and item.size >= WORTH

    def turn(self, take: Callable[[], int | None]) -> int | None:
        """Take a range for it, unless it is at work; `done` is due afterwards."""
        with self._lock:
            key = None if self._taken else take()
            self._taken = self._taken or key is not None
            return key

    def done(self) -> None:
        """Let another have the turn."""
        stream, self._stream = self._stream, None
        if stream:
            stream.close()
        self._taken = False

    def open(self, item: Item, start: int, stop: int, wire: Wire) -> "Stream":
        """The bytes of a range; `wire` asks the hub for its key. Raises Again, Refused."""
        stream = self._stream = Stream(self, item, start, stop, wire)
        if self._ended:
            stream.cut()
        return stream

    def key(self, wire: Wire) -> dict[str, Any]:
        """Where Xet's server is, and what opens it for an hour or so."""
        answer = wire.get(self._route, {})
        if answer.response.status != 200:
            raise Again(f"The hub gives no key for Xet ({answer.response.status})")
        told, view = bytearray(), memoryview(bytearray(KEY))
        while len(told) < KEY and (count := wire.read(view)):
            told += view[:count]
        wire.finish()
        try:
            said = json.loads(told)
            cas, key, until = str(said["casUrl"]), str(said["accessToken"]), int(said["exp"])
            parts = urlsplit(cas)
            plain = parts.scheme == "http" and self._home.address.startswith("http:")
            safe = (parts.scheme == "https" or plain) and ADDRESS.fullmatch(cas)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise Again("The hub's key for Xet cannot be read") from None
        if not safe or not parts.hostname:
            raise Again("The hub names no https address as that of Xet")
        if not wire.inside and lies_inside(parts.hostname):
            raise Again("The hub says that Xet is in your own network, where it cannot be")
        return {"cas": cas, "key": key, "until": max(0, min(until, 1 << 40))}

    def give_up(self, why: str) -> None:
        """Plain bytes from now on."""
        if not self.trouble:
            self.trouble = INSTEAD
            sys.stderr.write(f"Xet: {ascii(why)[1:-1]}. Plain bytes come instead.\n")

    def watch(self) -> None:
        """End a client that has been asked and has said nothing for too long."""
        stream = self._stream
        if stream and stream.silent > self.stall:
            stream.stalled = True
            stream.cut()

    def cut(self) -> None:
        """End it for good, from any thread."""
        self._ended = True
        if self._stream:
            self._stream.cut()


class Stream:
    """A process of the client at work; it is read as a `Wire` is."""

    def __init__(self, xet: Xet, item: Item, start: int, stop: int, wire: Wire) -> None:
        self._xet, self._item, self._wire = xet, item, wire
        self._at, self._stop = start, stop
        self._asked = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._moved, self._cut = False, False
        self.stalled = False

    @property
    def silent(self) -> float:
        """Seconds that somebody has waited for a byte of it."""
        return time.monotonic() - self._asked if self._asked else 0.0

    def read(self, view: memoryview) -> int:
        """Some bytes, as they come; 0 at the end. Raises Again."""
        while self._at < self._stop:
            process = self._process or self._begin()
            pipe: Any = process.stdout
            self._asked = time.monotonic()
            count = pipe.readinto(view[: self._stop - self._at]) or 0
            self._asked = 0.0
            if count:
                self._at, self._moved = self._at + count, True
                return count
            self._ended(process)
        return 0

    def _begin(self) -> "subprocess.Popen[bytes]":
        xet, item = self._xet, self._item
        wanted = {
            **xet.key(self._wire), "hash": item.xet, "size": item.size, "start": self._at,
            "stop": self._stop, "threads": xet.threads, "stall": xet.stall,
        }  # fmt: skip
        try:
            xet.folder.mkdir(parents=True, exist_ok=True)
            with (xet.folder / "said").open("wb") as said:
                process = self._process = subprocess.Popen(
                    [sys.executable, "-I", str(CLIENT)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    bufsize=0,
                    cwd=xet.folder,
                    env=surroundings(xet.folder),
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            raise Again(f"Xet's client cannot be started ({error})") from error
        if self._cut:
            process.kill()
        assert process.stdin
        with suppress(OSError):  # Its end is seen by who reads.
            process.stdin.write(json.dumps(wanted).encode() + b"\n")
        return process

    def _ended(self, process: "subprocess.Popen[bytes]") -> None:
        status, self._process = _end(process), None
        if status == SPENT and self._moved:
            self._moved = False  # A new key, and on from here.
            return
        if self.stalled:
            raise Again(f"Nothing came from Xet for {self._xet.stall:.0f} seconds")
        raise Again(f"Xet's client ended ({status}): {_last_line(self._xet.folder / 'said')}")

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process:
            process.kill()
            _end(process)

    def cut(self) -> None:
        """The same from another thread: whoever reads from it stops at once."""
        self._cut = True
        if process := self._process:
            process.kill()


def _end(process: "subprocess.Popen[bytes]") -> int:
    with process:
        try:
            return process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _last_line(file: Path) -> str:
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 400))
        return opened.read().decode(errors="replace").strip().rpartition("\n")[2]
    return ""


def surroundings(folder: Path) -> dict[str, str]:
    """The client's: proxies and certificates as they are, no token of the hub, nothing told to
    anybody, and nothing written but in the folder."""
    own = {name: v for name, v in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return {
        **own,
        **dict.fromkeys(("HOME", "HF_HOME", "HF_XET_CACHE", "XDG_CACHE_HOME"), str(folder)),
        "HF_XET_LOG_DEST": os.devnull,
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
