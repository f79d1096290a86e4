"""The events of a stream: what they have in common is encoded once, so that a word costs little."""

from collections.abc import Callable, Sequence
from functools import cached_property

import msgspec
from msgspec import structs

from extensions.api_kit.api import Run

from . import answers

DONE = b"data: [DONE]\n\n"


class Frames:
    """Events around their choices; `usage`: whether they tell at the end what was used. `named` is
    asked for the model at the first event, for until then it may be loading."""

    def __init__(self, frame: answers.Frame, usage: bool, named: Callable[[], str]) -> None:
        self._unnamed, self._usage, self._named = frame, usage, named

    def event(self, choice: bytes) -> bytes:
        """One event, of one choice."""
        head, tail = self._around
        return head + choice + tail

    def last(self, runs: Sequence[Run], usage: answers.Usage) -> bytes:
        """What was used, if that was asked for, and the end."""
        if not self._usage:
            return DONE
        timings = answers.timings_of([run.finish for run in runs])
        whole = {**msgspec.to_builtins(self._frame), "usage": usage, "timings": timings}
        return b"data: " + msgspec.json.encode(whole) + b"\n\n" + DONE

    @cached_property
    def _frame(self) -> answers.Frame:
        return structs.replace(self._unnamed, model=self._named())

    @cached_property
    def _around(self) -> tuple[bytes, bytes]:
        more = {"usage": None} if self._usage else {}
        whole = {**msgspec.to_builtins(self._frame), **more, "choices": ["#"]}
        head, tail = msgspec.json.encode(whole).split(b'"#"')
        return b"data: " + head, tail + b"\n\n"
