"""What every test has: --long, the engines' environments, and a check that it leaves nothing."""

import asyncio
import gc
import inspect
import os
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import requests  # noqa: F401 - the library, before pytest meets extensions/requests by that name
from xdist.scheduler.loadfile import LoadFileScheduling

from kernel.testing import leaving_nothing

pytest.register_assert_rewrite("tests.engines.alike")
gc.disable()  # While tests are collected, as hardly anything of that goes again.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
"""No test asks a hub that is not its own."""
os.environ["NODE_COMPILE_CACHE"] = str(Path(sys.prefix) / "node-cache")
"""Playwright's driver starts for each browser: with its code compiled, for a seventh less."""
ssl.create_default_context = cache(ssl.create_default_context)
"""Each HTTP client reads all authorities of the world anew: a tenth of the APIs' tests."""
NO_CHROMIUM = "there is no Chromium; on Debian: sudo apt install chromium"
TOGETHER = ("extensions/llamacpp_hf", "extensions/transformers")
"""Folders whose files run in one process, one by one, for what they share is dear."""


class Files(LoadFileScheduling):
    """`--dist loadfile`, but for those folders."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return TOGETHER[0] if file.startswith(TOGETHER) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files | None:
    return Files(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tests too")
    parser.addoption(
        "--cases",
        type=int,
        default=20_000,
        help="with --long, how often each family of an API's routes is asked (tests/apis)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long, chromium = config.getoption("--long"), shutil.which("chromium")
    for item in items:
        if "long" in item.keywords and not long:
            item.add_marker(pytest.mark.skip(reason="long: runs with --long"))
        if "browser" in item.keywords and not chromium:
            item.add_marker(pytest.mark.skip(reason=NO_CHROMIUM))
        elif "browser" in item.keywords and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            names: list[str] = getattr(item, "fixturenames", [])
            names.insert(names.index("leaves_nothing"), "leaves_no_task")  # Behind wider scopes.
            names.insert(0, "browser")
    # What runs in one process begins first: at the end the others would wait for it.
    items.sort(key=lambda item: not item.nodeid.startswith(TOGETHER))


def pytest_collection_finish() -> None:
    """What was collected stays: the garbage collector need not look through it again and again."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)  # A twelfth less of the processor's time for tests of chats.


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if checks := os.environ.get("SPINDLE_CHECKS"):
        terminalreporter.section("checks")
        terminalreporter.line(checks)
    if not shutil.which("chromium"):
        terminalreporter.section("THE BROWSER TESTS DID NOT RUN", red=True, bold=True)
        terminalreporter.line(NO_CHROMIUM, red=True)
    if why := os.environ.get("SPINDLE_NOT_BUILT"):
        terminalreporter.section(
            "THE TESTS OF THE NATIVE LLAMA.CPP DID NOT RUN", red=True, bold=True
        )
        terminalreporter.line(why, red=True)


@pytest.fixture(scope="session")
def environments_dir() -> Path:
    """Where the engines' environments are: built by `python -m tests`, kept between runs."""
    return Path(os.environ.get("SPINDLE_ENVIRONMENTS_DIR", "data/environments")).resolve()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[None]:
    """One for all that need one; their tests share a loop for it."""
    from tests.live import kept_chromium  # noqa: PLC0415, it imports Playwright

    async with kept_chromium():
        yield


@pytest_asyncio.fixture(loop_scope="session")
async def leaves_no_task(browser: None) -> AsyncIterator[None]:
    """As `leaves_nothing`, in the loop that tests with a browser share."""
    async with leaving_nothing():
        yield


@pytest.fixture(autouse=True)
async def leaves_nothing() -> AsyncIterator[None]:
    """Fail a test that leaves a task, a thread, a child process or a socket behind.

    What a fixture of a wider scope opened before the test is not the test's.
    """
    async with leaving_nothing():
        yield
        await asyncio.get_running_loop().shutdown_default_executor()
