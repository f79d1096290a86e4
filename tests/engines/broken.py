"""An engine that breaks what a prompt names: its text, its tokens, its card, or itself."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernel.contract import Delta, Finish, ModelInfo, Output, Report, Request, Token


class Engine:
    """Answers each request with the deltas of its prompt, one a step."""

    concurrent: Sequence[str] = ()

    def __init__(self) -> None:
        self._open: dict[int, list[Any]] = {}
        self._lost = False

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        return ModelInfo("broken", loader="broken", context_length=4096)

    def submit(self, id: int, request: Request) -> None:
        self._open[id] = [request.prompt, *getattr(self, request.prompt or "", self.sound)()]

    def cancel(self, id: int) -> None:
        self._open[id] = [None]

    def poll(self, timeout: float) -> Sequence[Output]:
        time.sleep(0.01)
        outputs: list[Output] = []
        for id, (_, *rest) in [*self._open.items()]:
            if rest:
                self._open[id].pop(1)
                delta: Any = rest[0]() if callable(rest[0]) else rest[0]
                outputs.append(Output(id, delta))
            else:
                del self._open[id]
                outputs.append(Output(id, finish=Finish("stop")))
        return outputs

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        raise ValueError(name)

    # --- what a prompt may be -------------------------------------------------------------

    def sound(self) -> list[Any]:
        return [Delta("a "), Delta("sound "), Delta("answer")]

    def slow(self) -> list[Any]:
        return [Delta(f"{number} ") for number in range(100)]

    def half(self) -> list[Any]:
        """Half of a pair in one delta, the whole of one in another, and a byte of no text."""
        return [Delta("a\ud83d"), Delta("b\ud83d\ude00c"), Delta("d\udcff")]

    def odd_tokens(self) -> list[Any]:
        """Ids that no vocabulary has; the bytes are no text, which tokens need not be."""
        return [Delta("x", tokens=(Token(-1, b"\xff\xfe"), Token(2**63 - 1, b"")))]

    def huge_token(self) -> list[Any]:
        return [Delta("before"), Delta("x", tokens=(Token(2**70, b""),))]

    def no_delta(self) -> list[Any]:
        return [Delta("before"), "not a delta"]

    def no_text(self) -> list[Any]:
        return [Delta("before"), Delta(5)]  # type: ignore[arg-type]

    def nothing(self) -> list[Any]:
        return [Delta("\x00\x1b[2J\u202e")]

    def die(self) -> list[Any]:
        return [Delta("before"), lambda: os.kill(os.getpid(), signal.SIGKILL)]

    def lose_card(self) -> list[Any]:
        """As extensions/transformers/faults.py does when CUDA answers no more."""
        return [Delta("before"), self.lost]

    def lost(self) -> None:
        raise SystemExit("The graphics card failed while writing (CUDA error: illegal access).")
