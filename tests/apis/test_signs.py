"""P5: a stream shows that Spindle lives while the model reads. E48: no count tells a word."""

import asyncio
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from kernel.testing import running
from tests.apis.clients import EXTENSIONS, freed, model
from tests.sockets import serving

SECRET = "xyzzy"
ASK = {"messages": [{"role": "user", "content": SECRET}], "stream": True}


async def test_p5_a_sign_of_life_before_the_first_word(monkeypatch: pytest.MonkeyPatch):
    silent = model(gate=asyncio.Semaphore(0))
    async with running(*EXTENSIONS, model=silent) as app, serving(app) as served:
        monkeypatch.setattr(sys.modules["extensions.api_kit.calls"].Out, "QUIET", 0.1)
        async with (
            httpx.AsyncClient(base_url=served.http, timeout=20) as web,
            web.stream("POST", "/v1/chat/completions", json=ASK) as answer,
        ):
            lines = [line async for line in first(answer)]
        assert lines == [": ping", ": ping"]
        await freed(app)


async def first(answer: httpx.Response) -> AsyncIterator[str]:
    """Its first two lines with something in them."""
    found = 0
    async for line in answer.aiter_lines():
        if line:
            yield line
            found += 1
        if found == 2:
            return


async def test_e48_counts_and_logs_tell_no_words(caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    async with (
        running(*EXTENSIONS, "requests", model=model(f"I say {SECRET}.")) as app,
        serving(app) as served,
        httpx.AsyncClient(base_url=served.http, timeout=20) as web,
    ):
        told = await web.post("/v1/chat/completions", json=ASK)
        assert SECRET in told.text
        wrong = {**ASK, "temperature": SECRET}
        assert (await web.post("/v1/chat/completions", json=wrong)).status_code == 400
        counts = (await web.get("/metrics")).text
    assert "spindle" in counts
    assert SECRET not in counts
    assert served.key not in counts
    kept = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    said = " ".join(record.getMessage() for record in kept)
    assert "openai: " in said
    assert SECRET not in said
