"""The worker that fetches: all downloads in one process, so that one pace and one room are theirs.

It needs nothing but Python's own library, and so little memory; what the hub has to say of models
is asked by another (worker.py), and Xet's client is one more process (xet_client.py).
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kernel.contract import ModelInfo, Output, Refused, Report, Request

from .checking import check
from .fetching import Space, download
from .pace import Pace
from .trouble import Stopped


class Fetcher:
    """`fetch` and `check` run beside each other; `pace` counts for all of them; `left` answers
    once nothing fetches that was given up."""

    concurrent = frozenset({"fetch", "check", "pace", "left"})

    def __init__(self) -> None:
        self._pace, self._space = Pace(), Space()
        self._going: list[str] = []
        self._change = threading.Condition()

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        """`fetch` a plan, `check` what is there of one, set the `pace` in bytes a second, or wait
        until what is called so has `left` its folder."""
        try:
            match name:
                case "fetch":
                    with self._at_work(data.get("id", "")):
                        return download(data, self._pace, self._space, report, cancelled)
                case "left":
                    with self._change:
                        self._change.wait_for(lambda: data["id"] not in self._going)
                case "check":
                    return check(data, report, cancelled)
                case "pace":
                    return self._pace.limit(float(data["rate"]))
                case _:
                    raise Refused(f"The fetcher does not know “{name}”.")
        except Stopped:
            return None  # Who wished it listens no more.

    @contextmanager
    def _at_work(self, id: str) -> Generator[None]:
        """Known before it looks whether it was given up: `left`, asked after that, misses none."""
        with self._change:
            self._going.append(id)
        try:
            yield
        finally:
            with self._change:
                self._going.remove(id)
                self._change.notify_all()

    # --- no model ---

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        raise Refused("The fetcher holds no model.")

    def submit(self, id: int, request: Request) -> None:
        raise Refused("The fetcher holds no model.")

    def poll(self, timeout: float) -> Sequence[Output]:
        time.sleep(timeout)  # While a call is open the host polls again at once.
        return ()

    def cancel(self, id: int) -> None:
        """There are no requests."""
