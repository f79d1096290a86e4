"""What the page shows of requests, and what Prometheus reads."""

import asyncio
import gc
import re
import sys
import weakref
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from extensions.api_kit.api import PROGRAMS, Asking, Caller, Wish
from kernel.testing import App, Scripted, running
from tests.sockets import Served, serving

BODY = {"messages": [{"role": "user", "content": "A secret?"}]}


@pytest.fixture
async def gate() -> asyncio.Semaphore:
    return asyncio.Semaphore(0)


@pytest.fixture
async def app(gate: asyncio.Semaphore) -> AsyncIterator[App]:
    model = Scripted("One two.", gate=gate)
    async with running("requests", "settings", "openai_api", "instruct", model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def ask(served: Served) -> Any:
    async with httpx.AsyncClient(timeout=60) as web:
        answer = await web.post(f"{served.http}/v1/chat/completions", json=BODY)
        return answer.json()


async def test_requests_are_seen_wait_and_are_stopped(
    app: App, served: Served, gate: asyncio.Semaphore
):
    page = await app.open("/settings/requests")
    await page.until("No program asks for anything now")
    first = asyncio.create_task(ask(served))
    await page.until("The model reads")
    second = asyncio.create_task(ask(served))
    await page.until("Waits, number 1")
    assert 'A program on this machine <span class="quiet">OpenAI</span>' in page.html
    assert "A secret" not in page.html
    gate.release()
    await page.until("The model writes")
    [waiting] = set(re.findall('id="requests-([0-9a-f]+)" data-state="waiting"', page.html))
    await page.act("requests.cancel", id=waiting)
    assert (await second)["error"]["code"] == "cancelled"
    for _ in range(3):
        gate.release()
    assert (await first)["choices"][0]["message"]["content"] == "One two."
    await page.until("done")
    third = asyncio.create_task(ask(served))
    model = app.kernel.slot().model
    assert isinstance(model, Scripted)
    await app.until(lambda: len(model.asked) == 2)
    model.die("The engine fell over.")
    assert "fell over" in (await third)["error"]["message"]
    await page.until("The engine fell over.")
    await page.act("requests.cancel", id="gone")


async def test_questions_that_wait_for_a_model_are_seen_and_stopped():
    async with running("requests", "settings", "openai_api") as app, serving(app) as served:
        slot, comes = app.kernel.slot(), asyncio.Event()

        async def wake() -> None:
            await comes.wait()

        slot.wake = wake
        page = await app.open("/settings/requests")
        await page.until("No program asks for anything now")
        async with httpx.AsyncClient(timeout=60) as web:
            url = f"{served.http}/v1/internal/encode"
            asking = asyncio.create_task(web.post(url, json={"text": "A secret?"}))
            await page.until("Waits for its model")
            assert 'A program on this machine <span class="quiet">OpenAI</span>' in page.html
            [id] = set(re.findall('id="requests-([0-9a-f]+)" data-state="waiting"', page.html))
            await page.act("requests.cancel", id=id)
            answer = (await asking).json()
            says = "It was cancelled while it waited for its model."
            assert (answer["error"]["code"], answer["error"]["message"]) == ("cancelled", says)
        await page.until("No program asks for anything now")


async def test_of_a_long_queue_the_first_are_shown_and_only_to_who_looks(
    app: App, monkeypatch: pytest.MonkeyPatch
):
    rows, looks = sys.modules["extensions.requests.rows"].Rows, list[int]()
    now = rows.now

    def counted(self: Any) -> Any:
        looks.append(1)
        return now(self)

    monkeypatch.setattr(rows, "now", counted)
    monkeypatch.setattr(sys.modules["extensions.requests"], "EVERY", 0.001)
    [programs] = app.kernel.registry.values(PROGRAMS)

    async def wait() -> None:
        async with programs.run(Asking("openai", Caller("local")), Wish(prompt="?")) as run:
            async for _ in run:
                pass

    waiting = [asyncio.create_task(wait()) for _ in range(60)]
    await app.until(lambda: programs.runs.gate.waiting == 59)
    await app.open("/settings")
    await asyncio.sleep(0.02)
    assert not looks
    page = await app.open("/settings/requests")
    await page.until("10 more came after these.")
    assert len(set(re.findall('id="requests-([0-9a-f]+)"', page.html))) == 50
    assert "number 49" in page.html
    for each in waiting:
        each.cancel()
    await page.until("No program asks for anything now")


async def metrics(served: Served) -> dict[str, float]:
    """Every sample by its name and labels."""
    async with httpx.AsyncClient(timeout=60) as web:
        answer = await web.get(f"{served.http}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "secret" not in answer.text
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_prometheus_reads_the_counts(app: App, served: Served, gate: asyncio.Semaphore):
    before = await metrics(served)
    assert before["spindle_model_loaded scripted scripted"] == 1
    assert before["spindle_requests_live writing"] == 0
    asking = asyncio.create_task(ask(served))
    gate.release()
    async with asyncio.timeout(20):
        while not (await metrics(served))["spindle_requests_live writing"]:
            await asyncio.sleep(0.01)
    for _ in range(3):
        gate.release()
    await asking
    after = await metrics(served)
    assert after["spindle_requests_total openai done"] == 1
    assert after["spindle_tokens_total prompt"] == 10
    assert after["spindle_tokens_total completion"] == 2
    assert after["spindle_first_token_seconds_count"] == 1
    assert after["spindle_request_seconds_bucket +Inf"] == 1
    assert after["spindle_request_seconds_sum"] > 0


async def test_a_refusal_because_a_key_has_too_many_at_once_is_seen_and_counted(
    app: App, served: Served, gate: asyncio.Semaphore, caplog: pytest.LogCaptureFixture
):
    await app.configure("api_kit", at_once_each=1)
    page = await app.open("/settings/requests")
    first = asyncio.create_task(ask(served))
    await page.until("The model reads")
    with caplog.at_level("INFO"):
        assert (await ask(served))["error"]["code"] == "too_many_requests"
    assert "openai: local:local, cancelled, 0 + 0 tokens" in caplog.text
    await page.until('data-state="cancelled"')
    assert (await metrics(served))["spindle_requests_total openai cancelled"] == 1
    for _ in range(3):
        gate.release()
    await first


def gone(kept: "weakref.ref[Any]") -> bool:
    gc.collect()
    return kept() is None


async def test_what_is_shown_of_ended_requests_keeps_no_conversation(
    app: App, served: Served, gate: asyncio.Semaphore
):
    [programs] = app.kernel.registry.values(PROGRAMS)
    asking = asyncio.create_task(ask(served))
    await app.until(lambda: len(programs.runs.live) == 1)
    kept = weakref.ref(next(iter(programs.runs.live)))
    for _ in range(3):
        gate.release()
    await asking
    page = await app.open("/settings/requests")
    await page.until("A program on this machine")
    await app.until(lambda: gone(kept))
