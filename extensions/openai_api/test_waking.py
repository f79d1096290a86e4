"""A model that was put to rest is there again for the program that asks, and for the next one."""

import asyncio
from typing import Any

from kernel.testing import App, Scripted, running

SEEN = (
    "/api/v1/model", "/api/latest/model", "/api/v1/config/max_context_length", "/health", "/slots",
    "/v1/internal/model/info",
)  # fmt: skip


async def resting(app: App) -> asyncio.Event:
    """Put the model to rest; it comes back when the event is set."""
    slot, gate = app.kernel.slot(), asyncio.Event()
    await slot.unload()
    waking: list[asyncio.Task[None]] = []

    async def bring_back() -> None:
        slot._report(0.5, "Loading")
        slot.state = slot.state.__class__(slot.name, "loading")
        await gate.wait()
        await slot.reload()
        slot.wake = None

    async def wake() -> None:
        if not waking:
            waking.append(asyncio.create_task(bring_back()))
        await asyncio.wait(waking)

    slot.wake = wake
    return gate


async def asked(app: App, path: str, **body: Any) -> Any:
    return await app.fetch(path, "POST", who="key", json={"model": "x", **body})


async def test_those_who_ask_meanwhile_wait_for_it():
    async with running("openai_api", "instruct", model=Scripted("Hi.")) as app:
        gate = await resting(app)
        talk = [{"role": "user", "content": "?"}]
        first = asyncio.create_task(asked(app, "/v1/chat/completions", messages=talk))
        await app.until(lambda: app.kernel.slot().state.state == "loading")
        second = asyncio.create_task(asked(app, "/v1/completions", prompt="?"))
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not second.done()
        gate.set()
        assert [(await one).status for one in (first, second)] == [200, 200]


async def test_who_looks_before_asking_sees_the_model_that_would_come():
    """Else programs say that there is nothing to connect to, and never ask."""
    apis = ("openai_api", "kobold_api", "legacy_api", "llama_server_api")
    async with running(*apis, "requests", "instruct", model=Scripted("Hi.")) as app:

        async def look(path: str) -> Any:
            answer = await app.fetch(path, who="key")
            return answer.status, answer.json() if answer.status == 200 else answer.text

        before = {path: await look(path) for path in SEEN}
        assert {status for status, _ in before.values()} == {200}
        gate = await resting(app)
        for path in SEEN:
            assert await look(path) == before[path], path
        status, told = await look("/v1/models")
        assert (status, told["data"][0]["status"]) == (200, {"value": "sleeping"})
        status, told = await look("/props")
        assert (told["model_alias"], told["is_sleeping"]) == ("scripted", True)
        answer = await app.fetch("/metrics", who="key")
        assert "scripted" not in answer.text
        assert not app.kernel.slot().model, "nobody asked it for anything"
        gate.set()
        answer = await asked(app, "/v1/completions", prompt="?")
        assert answer.json()["model"] == "scripted"
        app.kernel.slot().wake = None
        await app.kernel.slot().unload()
        assert (await look("/health"))[0] == 503
        assert (await look("/api/v1/model"))[1] == {"result": "ReadOnly"}


async def test_a_question_about_tokens_wakes_it_too():
    async with running("openai_api", model=Scripted("Hi.")) as app:
        gate = await resting(app)
        gate.set()
        answer = await asked(app, "/v1/internal/encode", text="x")
        assert app.kernel.slot().model, "it is there"
        assert answer.status == 400, "a scripted model knows no tokens"


async def test_who_asks_ollama_for_a_model_and_says_nothing_waits_for_it():
    async with running("ollama_api", "models", model=Scripted("Hi.")) as app:
        gate = await resting(app)
        first = asyncio.create_task(asked(app, "/api/generate", stream=False))
        await app.until(lambda: first.done() or app.kernel.slot().state.state == "loading")
        second = asyncio.create_task(asked(app, "/api/chat", stream=False))
        gate.set()
        for answer in (await first, await second):
            assert (answer.status, answer.json()["done_reason"]) == (200, "load"), answer.text
