"""The engine: a number every 50 ms; a prompt of one known word makes it misbehave."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernel.contract import Delta, Finish, ModelInfo, Output, Report, Request


def channel() -> int:
    """The socket to the server, which an engine has no business with."""
    for fd in os.listdir("/proc/self/fd"):
        path = f"/dev/fd/{fd}"
        if int(fd) > 2 and os.path.exists(path) and os.readlink(path).startswith("socket:"):
            return int(fd)
    raise LookupError("no socket")


class Engine:
    """Counts for ever, for every request at once."""

    concurrent: Sequence[str] = ()

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()
        self._silent_after = 0

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        if options.get("fault") == "dies loading":
            os.kill(os.getpid(), signal.SIGKILL)
        if options.get("fault") == "refuses":
            raise ValueError("The file is cut short. Download it again.")
        report(0.5, "Half of it")
        return ModelInfo("drip", loader="drip", context_length=4096)

    def submit(self, id: int, request: Request) -> None:
        last = request.messages[-1].text.split()[-1] if request.messages else ""
        if last == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if last == "hang":
            time.sleep(3600)
        if last == "stall":
            self._silent_after = 3
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        if last == "garbage":
            os.write(channel(), b"\xff" * 64)
        with self._lock:
            self._counts[id] = 0

    def poll(self, timeout: float) -> Sequence[Output]:
        time.sleep(0.05)
        with self._lock:
            outputs: list[Output] = []
            for id in list(self._counts):
                if self._silent_after and self._counts[id] >= self._silent_after:
                    continue  # not even a cancelling is answered
                self._counts[id] += 1
                if id in self._cancelled:
                    del self._counts[id]
                    outputs.append(Output(id, finish=Finish("cancelled")))
                else:
                    outputs.append(Output(id, delta=Delta(f"{self._counts[id]} ")))
            return outputs

    def cancel(self, id: int) -> None:
        with self._lock:
            self._cancelled.add(id)

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        raise ValueError(f"There is no {name} here.")
