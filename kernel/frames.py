"""The frames between the server and a worker: a u32 length, then msgpack of one of these."""

from collections.abc import Mapping
from typing import Any

import msgspec

from kernel.contract import ModelInfo, Output
from kernel.sampling import Struct

LARGEST = 64 * 1024 * 1024
"""Bytes; a longer frame is garbage on the pipe and ends the worker."""


class Load(Struct, frozen=True, tag=True):
    """Load a model; answered by `Loaded` or `Failed` with id 0."""

    path: str
    options: Mapping[str, Any]


class Submit(Struct, frozen=True, tag=True):
    """Begin a `Request`, which the child checks; answered by `Outputs` until one has a finish."""

    id: int
    request: Any


class Cancel(Struct, frozen=True, tag=True):
    """End a request (its finish says `cancelled`) or a call."""

    id: int


class Call(Struct, frozen=True, tag=True):
    """Anything else: tokenize, embed, train…; answered by `Result` or `Failed`."""

    id: int
    name: str
    data: Mapping[str, Any]


class Loaded(Struct, frozen=True, tag=True):
    """The model is ready."""

    info: ModelInfo


class Progress(Struct, frozen=True, tag=True):
    """How far a load (id 0) or a call is."""

    id: int
    fraction: float
    note: str = ""


class Outputs(Struct, frozen=True, tag=True):
    """One decode step of all running requests."""

    outputs: tuple[Output, ...]


class Result(Struct, frozen=True, tag=True):
    """What a call returned: plain data."""

    id: int
    value: Any


class Failed(Struct, frozen=True, tag=True):
    """A load, a call or a request failed; `error` is a sentence for the user; see `Finish`."""

    id: int
    error: str
    kind: str = ""
    refused: str | None = None


class Alive(Struct, frozen=True, tag=True):
    """Sent every second by the child's reader thread."""


ToWorker = Load | Submit | Cancel | Call
FromWorker = Loaded | Progress | Outputs | Result | Failed | Alive


def pack(frame: ToWorker | FromWorker) -> bytes:
    """The bytes of a frame; raises ValueError when there are more than `LARGEST`."""
    data = msgspec.msgpack.encode(frame)
    if len(data) > LARGEST:
        raise ValueError(f"it is {len(data):,} bytes, more than the {LARGEST:,} that may be sent")
    return len(data).to_bytes(4, "little") + data
