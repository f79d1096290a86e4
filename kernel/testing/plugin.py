"""The conformance suite for pytest, on its own or beside an extension's tests.

    pytest --spindle-extension FOLDER            # and the tests in it; none are needed

or a test file of two lines, which `pytest` then finds by itself:

    from kernel.testing.plugin import conformance
    test_conformance = conformance(__file__)

Installed with Spindle, pytest finds this plugin; in a checkout say `-p kernel.testing.plugin`.
"""

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from kernel.testing.conformance import CHECKS, Nonconforming, keeps


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("spindle")
    group.addoption(
        "--spindle-extension",
        action="append",
        default=[],
        metavar="FOLDER",
        help="examine the extension in FOLDER: it must keep every promise of an extension",
    )


def pytest_configure(config: pytest.Config) -> None:
    folders: Any = config.getoption("--spindle-extension")
    if folders and config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = folders  # with its own tests, and nobody else's


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    folders: Any = session.config.getoption("--spindle-extension")
    for folder in folders:
        path = Path(folder).resolve()
        items += Extension.from_parent(session, name=path.name, path=path).collect()


def conformance(file: str) -> Callable[..., None]:
    """The suite as a test of the module `file`, which lies in the extension's folder."""
    folder = Path(file).resolve().parent

    @pytest.mark.parametrize("promise", CHECKS)
    def test(promise: str) -> None:
        examine(folder, promise)

    return test


def examine(folder: Path, promise: str) -> None:
    """Run one check on a loop of its own, without touching the one of the tests around it."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(keeps(folder, promise))


class Extension(pytest.Collector):
    """The folder of an extension, as something that has tests."""

    @classmethod
    def from_parent(cls, parent: Any, **named: Any) -> "Extension":
        return super().from_parent(parent, **named)  # pyright: ignore[reportUnknownMemberType]

    def collect(self) -> Generator["Promise"]:
        for name in CHECKS:
            yield Promise.from_parent(self, name=name)


class Promise(pytest.Item):
    """One check of the suite."""

    @classmethod
    def from_parent(cls, parent: Any, **named: Any) -> "Promise":
        return super().from_parent(parent, **named)  # pyright: ignore[reportUnknownMemberType]

    def runtest(self) -> None:
        assert self.parent
        examine(self.parent.path, self.name)

    def reportinfo(self) -> tuple[Path, None, str]:
        assert self.parent
        return self.parent.path, None, f"{self.parent.name}: {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        if isinstance(excinfo.value, Nonconforming):
            return f"{(CHECKS[self.name].__doc__ or '').splitlines()[0]}\n{excinfo.value}"
        return str(super().repr_failure(excinfo, style))
