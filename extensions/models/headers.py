"""The server's end of the process that reads headers: asks, waits, and ends what takes too long."""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from extensions.models.described import Described
from kernel.contract import built

SECONDS = 15.0
"""The longest that a header may take to be read; one of 18 MB takes about a second."""
LARGEST = 1 << 20
"""Bytes of an answer."""
START = "import sys; from kernel.worker_host import load_code; load_code(sys.argv[1])()"
ROOT = Path(__file__).parents[2]
GAVE_UP = "Reading its header took too long, or was cut short. It is tried again later."


@built
class Answer(Described, frozen=True):
    """What the process says of a path; `passing`: it may say something else in a moment, `gone`:
    there was nothing."""

    passing: bool = False
    gone: bool = False


class Headers:
    """Reads one path after the other, blocking; `close` ends it from any thread."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds, self._lock, self._closed = seconds, threading.Lock(), False
        self._child: subprocess.Popen[bytes] | None = None

    def read(self, path: Path) -> Answer:
        """What is known of a path; a process that dies over it is replaced for the next."""
        with self._lock:
            if self._closed:
                return Answer(trouble=GAVE_UP, passing=True)
            child = self._child = self._child or start()
        answer = _ask(child, path, self.seconds)
        if answer:
            return answer
        with self._lock:
            self._end()
            return Answer(trouble=GAVE_UP, passing=True)  # The disk may sleep, or memory be short.

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child:
            end(child)


def _ask(child: "subprocess.Popen[bytes]", path: Path, seconds: float) -> Answer | None:
    """None where the process did not live to say it."""
    assert child.stdin
    assert child.stdout
    timer = threading.Timer(seconds, child.kill)
    timer.start()
    try:
        child.stdin.write(msgspec.json.encode(str(path)) + b"\n")
        child.stdin.flush()
        return msgspec.json.decode(child.stdout.readline(LARGEST), type=Answer)
    except (OSError, ValueError):  # Also of a pipe that was closed meanwhile.
        return None
    finally:
        timer.cancel()


def start() -> "subprocess.Popen[bytes]":
    """The process; it imports nothing of the server."""
    code = f"{Path(__file__).with_name('worker.py')}:serve"
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-c", START, code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def end(child: "subprocess.Popen[bytes]") -> None:
    """Kill it, and wait until it is gone."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError, ValueError):
            pipe.close()  # type: ignore[union-attr]
