"""Every behaviour at every point: the reply arrives as it was, others go on, the card says it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from kernel import api
from kernel.points import Point
from kernel.records import Status
from kernel.testing import App, Scripted, running
from kernel.watchdog import Watchdog

from .zoo import ALWAYS, GOOD, NO_CODE, NO_LIMIT, POINTS, WORDS, module, reply, told, web, write

RARE = (
    "raises 100 MB",
    "answers 100 MB",
    "says 100 MB",
    "raises half a character",
    "raises what cannot be printed",
    "cancels itself",
    "hangs and ignores its cancelling",
    "blocks the loop",
)
FIRST = ("INPUT", "ROUTES, a WebSocket")
"""Where also the default run does what is rare or takes long; --long does it everywhere."""
CASES = [
    pytest.param(where, how, marks=[pytest.mark.long] * (how in RARE and where not in FIRST))
    for where, place in POINTS.items()
    for how in (*ALWAYS, *place.lies)
    if how not in place.unlike
]
COUNTED = 3


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No logs: pytest would carry 100 MB and half characters of them about."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@asynccontextmanager
async def zoo(root: Path, where: str, statement: str) -> AsyncIterator[App]:
    """A server with a good and a bad extension, and little patience."""
    write(root, "good", GOOD)
    write(root, "bad", module(POINTS[where], statement))
    async with running("settings", "good", "bad", model=Scripted(WORDS), folders=[root]) as app:
        blocks = "time.sleep" in statement
        wait_for(app, 5 if blocks else 0.1)
        with Watchdog(app.kernel, after=0.1) if blocks else nullcontext():
            yield app
        await app.kernel.stop("bad")
        await app.until(lambda: not any("bad:" in t.get_name() for t in asyncio.all_tasks()))


def wait_for(app: App, seconds: float) -> None:
    """How long anything of an extension may take."""
    app.kernel.guard.budget = app.kernel.guard.patience = app.kernel.guard.silence = seconds
    app.kernel.guard.moment = 0  # Each act is one.


@pytest.mark.parametrize(("where", "how"), CASES)
async def test_it_costs_nobody_but_itself(tmp_path: Path, where: str, how: str):
    place = POINTS[where]
    async with zoo(tmp_path, where, {**ALWAYS, **place.lies}[how]) as app:
        kernel, page = app.kernel, app.page("/settings")
        record = kernel.records["bad"]
        await place.act(app)
        await app.until(lambda: bool(kernel.trouble.get("bad")))
        card = told(app)
        point = "event loop" if how == "blocks the loop" else place.called
        assert f"It runs, but failed in {point}: " in card
        assert "If that goes on, switch it off" in card
        # Two blocks with no moment of freedom between them are one.
        for _ in range(1, 9 if how == "blocks the loop" else COUNTED):
            if record.status is Status.RUNNING:
                await place.act(app)
                await asyncio.sleep(0.05 if how == "blocks the loop" else 0)
        await app.until(lambda: record.status is Status.QUARANTINED)
        card = told(app)
        assert f"It failed three times within a minute, last in {point}: " in card
        assert "Mend it, then try again." in card
        assert "Try again</button>" in card
        await place.act(app)  # and without it all goes on
        assert kernel.records["good"].status is Status.RUNNING
        assert blamed(app) == {"bad"}
        (record.folder / "calm").touch()
        wait_for(app, 5)  # A busy machine may hold up what is calm, too.
        await page.act("settings.retry", id="bad")
        assert record.status is Status.RUNNING
        await place.act(app)
        assert blamed(app) == set()
        assert "bad" not in kernel.trouble
        assert "why" not in told(app)


def blamed(app: App) -> set[str]:
    """Who is said to have failed; on a busy machine a watchdog so impatient blames anybody, too."""
    busy = "event loop: TimeoutError: it held everything up"
    trouble = app.kernel.trouble.items()
    return {id for id, said in trouble if id == "bad" or not all(t.startswith(busy) for t in said)}


def test_every_point_has_its_place():
    names = {name for name, thing in vars(api).items() if isinstance(thing, Point)}
    assert names == {where.partition(",")[0] for where in POINTS if where[0].isupper()} | {*NO_CODE}


def test_what_is_left_out_says_why():
    for where, place in POINTS.items():
        assert set(place.unlike) <= set(ALWAYS), where
        assert all(place.unlike.values()), where
    assert len(CASES) > 150


PATIENT = [where for where, place in POINTS.items() if place.unlike.get("hangs") == NO_LIMIT]


@pytest.mark.parametrize("where", PATIENT)
async def test_what_may_take_its_time_ends_with_its_extension(tmp_path: Path, where: str):
    """Nobody waits for it, nobody counts it, and a switch ends it at once."""
    async with zoo(tmp_path, where, ALWAYS["hangs"]) as app:
        kernel, record = app.kernel, app.kernel.records["bad"]
        hanging = asyncio.ensure_future(POINTS[where].act(app))
        await asyncio.sleep(0.05)
        assert not hanging.done()
        if where != "LOADERS, open":  # There the slot is being loaded, and a reply waits for it.
            await reply(app)
        started = time.monotonic()
        await kernel.changes.toggle("bad", on=False)
        assert time.monotonic() - started < 1
        assert record.status is Status.OFF
        await asyncio.wait({hanging}, timeout=4)
        assert hanging.done()
        hanging.exception()  # What it asked for was not answered, as it should be.
        await kernel.slot().load(Path("some.file"), "scripted")
        await reply(app)
        assert kernel.trouble == {}


async def test_a_request_that_hangs_is_told_that_its_extension_was_switched_off(tmp_path: Path):
    async with zoo(tmp_path, "ROUTES", ALWAYS["hangs"]) as app, web(app) as client:
        asking = asyncio.create_task(client.get("/ext/bad/page"))
        await asyncio.sleep(0.05)
        await app.kernel.changes.toggle("bad", on=False)
        answer = await asking
        assert answer.status_code == 503
        assert answer.text == "Bad was switched off. Switch it on in Settings."
