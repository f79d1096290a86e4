"""The engine: `Speak 400 2000` asks for 2,000 tokens, 400 a second; 0 is as fast as it goes.

`Beat 400 2000` keeps step with all others that do, as the replies of an engine that batches them
do. `Turn 400 2000` keeps as far from the others as eight can, so that every token comes alone.
`Count 400 2000` are the numbers from 1 on, so that the words themselves say which token they are.
"""

import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernel.contract import Delta, Finish, ModelInfo, Output, Report, Request, Timings, Token, Usage

PIECES = re.findall(r"\s*\S{1,4}", (Path(__file__).parent / "text.md").read_text("utf-8") + "\n\n")


class Reply:
    """One request; but for `Beat` and `Turn` its first token is due at once."""

    def __init__(self, what: str, rate: float, tokens: int, place: float) -> None:
        self.counts = what == "Count"
        self.pause, self.tokens, self.said = 1 / rate if rate else 0.0, tokens, 0
        now = time.monotonic()
        shared = math.ceil(now * rate) / rate if rate else now
        self.began = {"Beat": shared, "Turn": shared + place * self.pause}.get(what, now)
        self.asked, self.first = time.time(), 0.0
        self.cancelled = False

    @property
    def piece(self) -> str:
        if not self.counts:
            return PIECES[self.said % len(PIECES)]
        number = self.said + 1
        return f"{number} " if number % 60 else f"{number}\n\n"

    @property
    def due(self) -> float:
        return self.began + self.said * self.pause


class Engine:
    """Keeps time: what a busy machine made late comes at once, like from a real engine."""

    concurrent: Sequence[str] = ()

    def __init__(self) -> None:
        self._replies: dict[int, Reply] = {}
        self._lock = threading.Lock()
        self._stamps = Path()

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        self._stamps = Path(path).with_suffix(".stamps")
        return ModelInfo(
            "metronome", loader="metronome", context_length=1 << 20, capabilities=("text", "batch")
        )

    def submit(self, id: int, request: Request) -> None:
        asked = request.prompt or (request.messages[-1].text if request.messages else "")
        what, rate, tokens = asked.split()[-3:]
        with self._lock:
            self._replies[id] = Reply(what, float(rate), int(tokens), id % 8 / 8)

    def poll(self, timeout: float) -> Sequence[Output]:
        with self._lock:
            replies = list(self._replies.items())
        if not replies:
            return ()
        soonest = min(reply.due for _, reply in replies)
        time.sleep(min(timeout, max(0.0, soonest - time.monotonic())))
        outputs: list[Output] = []
        for id, reply in replies:
            while not reply.cancelled and reply.said < reply.tokens:
                if reply.due > time.monotonic():
                    break
                outputs.append(self._next(id, reply))
                if not reply.pause:
                    break
            if reply.cancelled or reply.said == reply.tokens:
                outputs.append(self._end(id, reply))
        return outputs

    def cancel(self, id: int) -> None:
        with self._lock:
            if reply := self._replies.get(id):
                reply.cancelled = True

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        raise ValueError(f"There is no {name} here.")

    def _next(self, id: int, reply: Reply) -> Output:
        piece = reply.piece
        reply.first = reply.first or time.time()
        reply.said += 1
        return Output(id, delta=Delta(piece, tokens=(Token(reply.said, piece.encode()),)))

    def _end(self, id: int, reply: Reply) -> Output:
        with self._lock:
            del self._replies[id]
        with self._stamps.open("a") as file:
            file.write(f"{reply.asked} {reply.first} {time.time()}\n")
        reason = "cancelled" if reply.cancelled else "stop"
        took = Timings(0.0, time.monotonic() - reply.began)
        return Output(id, finish=Finish(reason, usage=Usage(10, reply.said), timings=took))
