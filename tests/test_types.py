"""Pyright refuses what is no hook: it complains of each line below that it would accept."""

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from kernel.api import (
    DISPLAY,
    HISTORY,
    INPUT,
    OUTPUT,
    Action,
    Client,
    Delta,
    Extension,
    Job,
    JobKind,
    Past,
    Started,
    Turn,
)

ROOT = Path(__file__).parent.parent


def test_pyright_looks_here_and_complains_of_what_it_need_not_ignore():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pyright"]
    assert told["reportUnnecessaryTypeIgnoreComment"] is True
    assert told["typeCheckingMode"] == "standard"
    assert "tests" in told["include"]
    assert not any("tests" in each for each in told["exclude"])


class Press(Action, frozen=True):
    """For tests."""


class Work(JobKind, frozen=True):
    """For tests."""


def refused(ext: Extension[Any]) -> None:
    """A hook is async, and its point says what it takes: nothing is guessed from its shape."""

    @ext.on(INPUT)  # pyright: ignore[reportArgumentType]
    def not_async(turn: Turn) -> Turn:
        return turn

    @ext.on(INPUT)  # pyright: ignore[reportArgumentType]
    async def of_another_shape(text: str, turn: Turn) -> str:
        return text

    @ext.on(INPUT)  # pyright: ignore[reportArgumentType]
    async def nothing(turn: Turn) -> None: ...

    @ext.on(OUTPUT)  # pyright: ignore[reportArgumentType]
    async def no_stream(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        return deltas

    @ext.on(HISTORY)  # pyright: ignore[reportArgumentType]
    def no_history(past: Past) -> Past:
        return past

    @ext.on(DISPLAY)  # pyright: ignore[reportArgumentType]
    def not_shown(deltas: AsyncIterator[Delta], turn: Turn) -> str:
        return ""

    @ext.on(Press)  # pyright: ignore[reportArgumentType]
    def pressed(action: Press, client: Client) -> None: ...

    @ext.on(Work)  # pyright: ignore[reportArgumentType]
    def worked(job: Job, kind: Work) -> None: ...

    @ext.on(Started)  # pyright: ignore[reportArgumentType]
    def started(event: Started) -> None: ...


def accepted(ext: Extension[Any]) -> None:
    """The same as it should be."""

    @ext.on(INPUT)
    async def given(turn: Turn) -> Turn:
        return turn

    @ext.on(OUTPUT)
    async def stream(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield delta

    @ext.on(HISTORY)
    async def past(past: Past) -> Past:
        return past

    @ext.on(Press)
    async def pressed(action: Press, client: Client) -> None: ...

    @ext.on(Work)
    async def worked(job: Job, kind: Work) -> None: ...

    @ext.on(Started)
    async def started(event: Started) -> None: ...
