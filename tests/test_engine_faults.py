"""M4 to M6 and M8: engines that crash again and again, are switched under fire, or talk garbage."""

import asyncio
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernel.contract import Delta, Request, Turn
from kernel.model import LoadFailed
from kernel.testing import App, running
from kernel.worker import Limits
from tests.phases import InWorker, offer
from tests.processes import alive

PATH = Path("m")


async def ask(app: App, prompt: str) -> tuple[str, str, str]:
    """What was said, how it ended, and why."""
    reply = app.run(Turn(prompt=prompt))
    deltas: list[Delta] = [delta async for delta in reply]
    assert reply.finish
    text = "".join(delta.text for delta in deltas)
    text.encode()  # It can be stored and sent.
    return text, reply.finish.reason, reply.finish.error


async def broken(app: App) -> InWorker:
    loader = offer(app, InWorker("broken.py:Engine"))
    await app.kernel.slot().load(PATH, "broken")
    return loader


# --- M6 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("half", "a\ufffdb😀cd\ufffd"),
        ("odd_tokens", "x"),
        ("nothing", "\x00\x1b[2J\u202e"),
    ],
)
async def test_m6_what_is_no_text_becomes_text(prompt: str, text: str):
    async with running() as app:
        await broken(app)
        beside = asyncio.create_task(ask(app, "slow"))
        assert await ask(app, prompt) == (text, "stop", "")
        assert (await beside)[0] == "".join(f"{number} " for number in range(100))


async def test_m6_a_token_that_cannot_be_costs_its_own_reply():
    async with running() as app:
        loader = await broken(app)
        beside = asyncio.create_task(ask(app, "slow"))
        text, reason, why = await ask(app, "huge_token")
        assert (text, reason) == ("before", "error")
        assert "The engine failed" in why
        assert (await beside)[1] == "stop"
        assert await ask(app, "sound") == ("a sound answer", "stop", "")
        assert len(loader.workers) == 1


@pytest.mark.parametrize("prompt", ["no_delta", "no_text"])
async def test_m6_what_is_no_delta_is_told_in_a_sentence_and_the_engine_replaced(prompt: str):
    async with running() as app:
        loader = await broken(app)
        text, reason, why = await ask(app, prompt)
        assert (text, reason) == ("before", "error")
        assert "no engine should send" in why or "The engine failed" in why
        assert await ask(app, "sound") == ("a sound answer", "stop", "")
        assert len(loader.workers) <= 2


# --- M8 -----------------------------------------------------------------------------------------


async def test_m8_an_engine_without_its_card_is_replaced():
    before = {*sys.modules}  # of other tests in this process
    async with running() as app:
        loader = await broken(app)
        beside = asyncio.create_task(ask(app, "slow"))
        text, reason, why = await ask(app, "lose_card")
        assert (text, reason) == ("before", "error")
        assert "The graphics card failed while writing" in why
        assert "The graphics card failed" in (await beside)[2]
        assert await ask(app, "sound") == ("a sound answer", "stop", "")
        assert len(loader.workers) == 2
        assert loader.workers[0].died.done()
        new = sys.modules.keys() - before
        assert not {"torch", "numpy", "transformers"} & new, "not in the server"


# --- M4 -----------------------------------------------------------------------------------------


async def test_m4_a_crash_loop_opens_the_circuit():
    """Each crash comes after a good reply, so each alone would earn a new start."""
    async with running() as app:
        loader, slot = await broken(app), app.kernel.slot()
        crashes = 0
        while slot.state.state != "failed":
            crashes += 1
            assert crashes < 20
            assert (await ask(app, "sound"))[0] == "a sound answer"
            text, reason, why = await ask(app, "die")
            assert (text, reason) == ("before", "error")
            assert "SIGKILL" in why
            await app.until(lambda: slot.state.state in ("loading", "failed"))
            await slot.settled()
        assert crashes == 4
        assert len(loader.workers) == 4
        assert "4 times in a minute" in slot.state.error
        assert "by hand" in slot.state.error
        before = len(loader.workers)
        answers = await asyncio.gather(*(ask(app, "sound") for _ in range(20)))
        assert {reason for _, reason, _ in answers} == {"error"}
        assert len(loader.workers) == before, "no request starts an engine"
        await slot.reload()
        assert await ask(app, "sound") == ("a sound answer", "stop", "")
        await ask(app, "die")
        await app.until(lambda: slot.state.state == "loading")
        await slot.settled()
        assert slot.state.state == "ready", "a person's choice begins anew"


# --- M5 -----------------------------------------------------------------------------------------


class Alone(InWorker):
    """Notes how many loads there are at once; to give one up takes a moment."""

    inside = most = 0

    async def open(self, path: Path, options: Any, report: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return await super().open(path, options, report)
        except asyncio.CancelledError:
            await asyncio.sleep(0.02)
            raise
        finally:
            self.inside -= 1


async def test_m5_loads_unloads_and_switches_under_fire():
    """Two hundred wishes at random times, with replies under way all along."""
    async with running() as app:
        loader, slot, rng = Alone(), app.kernel.slot(), random.Random(11)
        offer(app, loader)
        ends: list[str] = []
        most = 0

        async def reply() -> None:
            _, reason, why = await ask(app, "x")
            ends.append(reason)
            assert reason == "stop" or why, "an end without a word of why"

        async def wish(number: int) -> None:
            await asyncio.sleep(rng.random() * 5)
            options = {"loading": rng.choice([0, 0, 0.05, 0.2])}
            with suppress(LoadFailed, LookupError):
                match rng.choice(["load", "load", "switch", "unload", "reload", "cancel"]):
                    case "load":
                        await slot.load(PATH, "phases", options)
                    case "switch":
                        await slot.load(Path(f"m{number}"), "phases", options)
                    case "unload":
                        await slot.unload("The model was unloaded.")
                    case "reload":
                        await slot.reload()
                    case _:
                        await slot.cancel("The loading was cancelled.")

        async def ask_on() -> None:
            replies = set[asyncio.Task[None]]()
            while True:
                replies = {task for task in replies if not task.done()}
                if len(replies) < 5:
                    replies.add(asyncio.create_task(reply()))
                try:
                    await asyncio.sleep(0.02)
                except asyncio.CancelledError:
                    await asyncio.gather(*replies)
                    return

        async def count() -> None:
            nonlocal most
            while True:
                alive = [worker for worker in loader.workers if not worker.died.done()]
                most = max(most, len(alive))
                await asyncio.sleep(0.002)

        asking, counting = asyncio.create_task(ask_on()), asyncio.create_task(count())
        await asyncio.wait_for(asyncio.gather(*(wish(number) for number in range(200))), 60)
        await slot.unload("Enough.")
        asking.cancel()
        await asyncio.wait_for(asking, 20)
        counting.cancel()
        assert most == loader.most == 1, "never two engines"
        assert len(ends) > 20
        assert slot.model is None
        assert not [p for p in psutil.Process().children() if "worker_host" in str(p.cmdline())]
        await slot.load(PATH, "phases")
        generation = await slot.generate(Request(prompt="after"))
        assert (await anext(generation)).text == "1 "
        generation.cancel()


# --- M3, without a page (tests/test_faults.py has it with one) ------------------------------------


async def test_m3_a_silent_engine_is_ended_with_all_it_started():
    async with running() as app:
        loader = offer(app, InWorker("scripted.py:Engine", Limits(silence=1)))
        await app.kernel.slot().load(PATH, "scripted")
        model: Any = app.kernel.slot().model
        child = await model.call("child")
        text, reason, why = await ask(app, "one two hang")
        assert (text, reason) == ("one two ", "error")
        assert "silent for" in why
        assert "model:" in why, "it says where to allow more"
        await app.until(lambda: not alive(child))
        await app.until(lambda: app.kernel.slot().state.state == "ready")
        assert (await ask(app, "again"))[0] == "again "
        assert len(loader.workers) == 2


async def test_m3_a_reply_of_a_hung_engine_can_be_stopped():
    async with running() as app:
        loader = offer(app, InWorker("scripted.py:Engine", Limits(silence=60)))
        await app.kernel.slot().load(PATH, "scripted")
        reply = app.run(Turn(prompt="one hang"))
        said = aiter(reply)
        assert (await anext(said)).text == "one "
        model: Any = app.kernel.slot().model
        assert await model.call("hung")
        reply.cancel()
        async with asyncio.timeout(20):
            assert [delta async for delta in said] == []
        assert not loader.workers[0].died.done(), "it did not wait for the end of its engine"
        assert reply.finish
        assert reply.finish.reason == "cancelled"
