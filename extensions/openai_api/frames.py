"""The events of a stream: what they have in common is encoded once, so that a word costs little."""

from collections.abc import Sequence

import msgspec

from extensions.api_kit.api import Run

from . import answers

DONE = b"data: [DONE]\n\n"


class Frames:
    """Events around their choices; `usage`: whether they tell at the end what was used."""

    def __init__(self, frame: answers.Frame, usage: bool) -> None:
        self._frame, self._usage = frame, usage
        more = {"usage": None} if usage else {}
        whole = {**msgspec.to_builtins(frame), **more, "choices": ["#"]}
        head, tail = msgspec.json.encode(whole).split(b'"#"')
        self._head, self._tail = b"data: " + head, tail + b"\n\n"

    def event(self, choice: bytes) -> bytes:
        """One event, of one choice."""
        return self._head + choice + self._tail

    def last(self, runs: Sequence[Run], usage: answers.Usage) -> bytes:
        """What was used, if that was asked for, and the end."""
        if not self._usage:
            return DONE
        timings = answers.timings_of([run.finish for run in runs])
        whole = {**msgspec.to_builtins(self._frame), "usage": usage, "timings": timings}
        return b"data: " + msgspec.json.encode(whole) + b"\n\n" + DONE
