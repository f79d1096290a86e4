"""A model that loads, or was put to rest, is waited for by the program that asks."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from extensions.api_kit.api import PROGRAMS, Run
from kernel.api import LOADERS, OUTPUT, Delta, Phase, Refused, WorkerDied
from kernel.testing import App, Scripted, ScriptedLoader, running
from tests.programs import Knowing, post
from tests.sockets import serving

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


# --- a model that loads ---------------------------------------------------------------------


class Slow(ScriptedLoader):
    """Loads when it may, if it may."""

    id = label = "slow"

    def __init__(self, model: Scripted) -> None:
        super().__init__(model)
        self.opened, self.fault = asyncio.Event(), ""

    async def open(self, path: Path, options: Any, report: Any) -> Scripted:
        await self.opened.wait()
        if self.fault:
            raise Refused(self.fault)
        return await super().open(path, options, report)


APIS = ("openai_api", "anthropic_api", "llama_server_api", "kobold_api", "ollama_api")
TALK: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 9}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", TALK), ("/v1/responses", {"input": "?"}), ("/v1/messages", TALK),
    ("/api/chat", {**TALK, "stream": False}), ("/completion", {"prompt": "?"}),
    ("/api/v1/generate", {"prompt": "?"}), ("/tokenize", {"content": "a"}),
    ("/v1/messages/count_tokens", TALK), ("/v1/internal/encode", {"text": "a"}),
]  # fmt: skip


class Asked(Knowing):
    """Answers no question as long as it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[str] = []

    async def call(self, name: str, **data: Any) -> Any:
        self.questions.append(name)
        raise WorkerDied(await asyncio.shield(self.died))


@asynccontextmanager
async def loading(old: Scripted | None = None) -> AsyncGenerator[tuple[App, Slow]]:
    """A model that loads, perhaps in the place of another."""
    async with running(*APIS, "instruct", model=old) as app:
        slow: Any = Slow(Knowing("Hi."))
        add = app.kernel.registry.add
        add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
        slot = app.kernel.slot()
        task = asyncio.create_task(slot.load(Path("other"), "slow"))
        await app.until(lambda: slot.state.state == "loading")
        yield app, slow
        slow.opened.set()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_asks_while_a_model_loads_waits_for_it():
    async with loading() as (app, slow):
        answers = [asyncio.create_task(asked(app, path, **body)) for path, body in ASKED]
        health = await app.fetch("/health", who="key")
        assert (health.status, health.json()["error"]["code"]) == (503, "model_loading")
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: len(programs.runs.live) == len(answers))
        assert not any(each.done() for each in answers)
        slow.opened.set()
        assert [(await each).status for each in answers] == [200] * len(ASKED)


async def test_who_waits_for_a_model_that_fails_is_told_why():
    async with loading() as (app, slow):
        answers = [asyncio.create_task(asked(app, path, **body)) for path, body in ASKED[:7]]
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: len(programs.runs.live) == len(answers))
        slow.fault = "It is broken."
        slow.opened.set()
        for answer in [await each for each in answers]:
            assert (answer.status, "It is broken." in answer.text) == (503, True)
            assert answer.headers.get("x-should-retry") == "false"
        assert (await asked(app, "/completion", prompt="?")).status == 503, "and nobody waits now"


async def test_who_waits_for_a_model_counts_in_the_queue_until_it_leaves():
    async with loading() as (app, _), serving(app) as served:
        await app.configure("api_kit", queue=1)
        [programs] = app.kernel.registry.values(PROGRAMS)
        waiting = [asyncio.create_task(post(served, ASKED[0][0], **TALK)) for _ in range(2)]
        await app.until(lambda: programs.runs.gate.waiting == 1)
        assert (await post(served, ASKED[0][0], **TALK)).status_code == 429
        for each in waiting:
            each.cancel()
        await app.until(lambda: not programs.runs.live)


async def test_whose_question_is_cut_off_by_another_model_may_ask_again():
    old = Asked()
    async with running(*APIS, model=old) as app:
        slow: Any = Slow(Knowing("Hi."))
        add = app.kernel.registry.add
        add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
        cut_off = asyncio.create_task(asked(app, "/tokenize", content="a"))
        await app.until(lambda: "tokenize" in old.questions)
        load = asyncio.create_task(app.kernel.slot().load(Path("other"), "slow"))
        answer = await cut_off
        assert (answer.status, answer.json()["error"]["code"]) == (503, "model_loading")
        slow.opened.set()
        await load


async def test_whose_question_was_cut_off_may_ask_again_where_the_other_is_there_already():
    old, there = Knowing(), asyncio.Event()

    async def ends_late(*_: Any, **__: Any) -> Any:
        there.set()
        await app.until(lambda: app.kernel.slot().model is slow.model)
        raise WorkerDied("The engine stopped.")

    old.call = ends_late
    async with running(*APIS, model=old) as app:
        slow: Any = Slow(Knowing("Hi."))
        slow.opened.set()
        add = app.kernel.registry.add
        add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
        cut_off = asyncio.create_task(asked(app, "/tokenize", content="a"))
        await there.wait()
        await app.kernel.slot().load(Path("other"), "slow")
        answer = await cut_off
        assert (answer.status, answer.json()["error"]["code"]) == (503, "model_loading")


async def test_who_wants_vectors_waits_for_the_model_that_makes_them():
    async with running(*APIS) as app:
        slow: Any = Slow(Knowing("Hi.", capabilities=("embeddings",)))
        add = app.kernel.registry.add
        add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
        slot = app.kernel.slot("embedding")
        load = asyncio.create_task(slot.load(Path("other"), "slow"))
        await app.until(lambda: slot.state.state == "loading")
        paths = ("/v1/embeddings", "/api/embed", "/api/extra/embeddings")
        answers = [asyncio.create_task(asked(app, path, input="a")) for path in paths]
        answers += [
            asyncio.create_task(asked(app, "/embedding", content="a")),
            asyncio.create_task(asked(app, "/api/embeddings", prompt="a")),
        ]
        await asyncio.sleep(0.02)
        assert not any(each.done() for each in answers)
        slow.opened.set()
        assert [(await each).status for each in answers] == [200] * len(answers)
        await load


async def test_whose_reply_is_cut_off_by_another_model_may_ask_again():
    old = Scripted("One two.", gate=asyncio.Semaphore(1))
    async with running(*APIS, "instruct", model=old) as app:
        slow: Any = Slow(Knowing("Hi."))
        add = app.kernel.registry.add
        add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
        cut_off = asyncio.create_task(asked(app, "/v1/chat/completions", **TALK))
        await app.until(lambda: bool(old.asked))
        load = asyncio.create_task(app.kernel.slot().load(Path("other"), "slow"))
        await app.until(lambda: not app.kernel.slot().model)
        answer = await cut_off
        assert (answer.status, answer.json()["error"]["code"]) == (503, "model_loading")
        assert answer.headers["retry-after"] == "1"
        slow.opened.set()
        await load


async def test_whose_reply_was_cut_off_is_told_so_when_the_other_model_is_there_already():
    old, there = Scripted("One two.", gate=asyncio.Semaphore(1)), asyncio.Event()

    async def holds_back(deltas: AsyncIterator[Delta], _: Any) -> AsyncIterator[Delta]:
        async for delta in deltas:
            await there.wait()
            yield delta

    async with running(*APIS, "instruct", model=old) as app:
        slow: Any = Slow(Knowing("Hi."))
        add = app.kernel.registry.add
        add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
        add(OUTPUT, holds_back, "test", phase=Phase.NORMAL, rank=0, rewrites=False)
        cut_off = asyncio.create_task(asked(app, "/v1/chat/completions", **TALK))
        await app.until(lambda: bool(old.asked))
        load = asyncio.create_task(app.kernel.slot().load(Path("other"), "slow"))
        [programs] = app.kernel.registry.values(PROGRAMS)
        [run] = programs.runs.live
        await app.until(lambda: bool(run.reply and run.reply.finish))
        slow.opened.set()
        await load
        there.set()
        answer = await cut_off
        assert (answer.status, answer.json()["error"]["code"]) == (503, "model_loading")


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
CALLED = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USED = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
RESULT = {"type": "tool_result", "tool_use_id": "c", "content": [BLOCK]}
SHOWING: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "c", "content": [SHOWN]},
    ]
}  # fmt: skip
JUDGED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", SHOWING), ("/apply-template", SHOWING),
    ("/v1/responses", {"input": [
        {"type": "function_call", "call_id": "c", "name": "look"},
        {"type": "function_call_output", "call_id": "c",
         "output": [{"type": "input_image", "image_url": SHOWN["image_url"]}]},
    ]}),
    ("/v1/messages", {"max_tokens": 9, "messages": [
        {"role": "user", "content": "?"}, {"role": "assistant", "content": [USED]},
        {"role": "user", "content": [RESULT]},
    ]}),
    ("/api/v1/generate", {"prompt": "?", "sampler_order": [6, 0]}),
    ("/api/extra/generate/stream", {"prompt": "?", "sampler_order": [6, 0]}),
]  # fmt: skip


async def test_a_body_is_judged_by_the_model_that_comes():
    async with loading() as (app, slow):
        answers = [asyncio.create_task(asked(app, path, **body)) for path, body in JUDGED]
        bans = asked(app, "/api/v1/generate", prompt="?", banned_tokens=["x"])
        banned = asyncio.create_task(bans)
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: len(programs.runs.live) == len(JUDGED) + 1)
        slow.opened.set()
        assert [(await each).status for each in answers] == [200] * len(answers)
        assert "cannot keep words out" in (await banned).text


async def test_questions_that_wait_for_a_model_count_among_those_that_may_wait():
    async with loading() as (app, slow):
        await app.configure("api_kit", queue=1)
        [programs] = app.kernel.registry.values(PROGRAMS)
        waiting = [asyncio.create_task(asked(app, "/tokenize", content="a")) for _ in range(2)]
        await app.until(lambda: len(programs.runs.live) == 2)
        for path, body in (("/tokenize", {"content": "a"}), (ASKED[0][0], TALK)):
            assert (await asked(app, path, **body)).status == 429
        slow.opened.set()
        assert [(await each).status for each in waiting] == [200, 200]
        assert (await asked(app, "/tokenize", content="a")).status == 200


async def test_questions_that_wait_for_a_model_count_for_their_key_and_are_seen_and_stopped():
    async with loading() as (app, slow):
        await app.configure("api_kit", at_once_each=1)
        [programs] = app.kernel.registry.values(PROGRAMS)
        first = asyncio.create_task(asked(app, "/tokenize", content="a"))
        await app.until(lambda: len(programs.runs.live) == 1)
        ended = list[Run]()
        programs.runs.watchers.append(ended.append)
        for path, body in (("/v1/internal/encode", {"text": "a"}), (ASKED[0][0], TALK)):
            answer = await asked(app, path, **body)
            assert (answer.status, answer.json()["error"]["code"]) == (429, "too_many_requests")
        assert [(run.api, run.state) for run in ended] == [("openai", "cancelled")] * 2
        [run] = programs.runs.live
        assert (run.api, run.state) == ("llama_server", "waiting")
        await asked(app, "/v1/internal/stop-generation")
        answer = await first
        assert (answer.status, answer.json()["error"]["code"]) == (503, "cancelled")
        again = asyncio.create_task(asked(app, "/tokenize", content="a"))
        await app.until(lambda: len(programs.runs.live) == 1)
        slow.opened.set()
        assert (await again).status == 200
        assert not programs.runs.live


async def test_who_waits_for_the_model_that_it_named_counts_for_its_key():
    gate = asyncio.Semaphore(0)
    old = Scripted("One two.", gate=gate)
    settings = {"openai_api": {"load_by_name": True}, "api_kit": {"at_once_each": 2}}
    async with running(*APIS, "instruct", model=old, settings=settings) as app:
        app.kernel.models.mkdir(parents=True, exist_ok=True)
        (app.kernel.models / "other.gguf").write_bytes(b"GGUF")
        [programs] = app.kernel.registry.values(PROGRAMS)
        body = {"model": "scripted", "prompt": "?"}
        writes = asyncio.create_task(asked(app, "/v1/completions", **body))
        await app.until(lambda: bool(old.asked))
        body = {"model": "other", "prompt": "?"}
        waits = asyncio.create_task(asked(app, "/v1/completions", **body))
        await app.until(lambda: programs.holding.waiting)
        assert [run.state for run in programs.runs.live] == ["reading", "waiting"]
        answer = await asked(app, "/v1/completions", **body)
        assert (answer.status, answer.json()["error"]["code"]) == (429, "too_many_requests")
        for _ in range(9):
            gate.release()
        assert [(await each).status for each in (writes, waits)] == [200, 200]


async def test_a_stream_that_waited_for_its_model_names_it_from_the_first_event_on():
    async with loading() as (app, slow):
        bodies = (("/v1/chat/completions", TALK), ("/v1/completions", {"prompt": "?"}))
        more = {"stream": True, "stream_options": {"include_usage": True}}
        asks = [asked(app, path, **{**body, **more, "model": None}) for path, body in bodies]
        streams = [asyncio.create_task(each) for each in asks]
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: len(programs.runs.live) == 2)
        slow.opened.set()
        for stream in streams:
            lines = (await stream).text.strip().split("\n\n")[:-1]
            events = [json.loads(line.removeprefix("data: ")) for line in lines]
            assert {event["model"] for event in events} == {"scripted"}


async def test_what_can_only_be_refused_waits_for_no_model():
    async with loading() as (app, _):
        unknown = asked(app, "/v1/internal/chat-prompt", **TALK, mode="none such")
        assert (await asyncio.wait_for(unknown, 5)).json()["error"]["param"] == "mode"
        slow: Any = Slow(Knowing(capabilities=("embeddings",)))
        slow.id = "vectors"
        add = app.kernel.registry.add
        add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
        slot = app.kernel.slot("embedding")
        load = asyncio.create_task(slot.load(Path("more"), "vectors"))
        await app.until(lambda: slot.state.state == "loading")
        empty = asked(app, "/v1/embeddings", input=[])
        assert (await asyncio.wait_for(empty, 5)).json()["error"]["param"] == "input"
        slow.opened.set()
        await load


async def test_who_applies_adapters_waits_for_the_model_that_loads():
    async with loading() as (app, slow):
        applied = asyncio.create_task(asked(app, "/v1/internal/lora/load", lora_names=[]))
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: applied.done() or len(programs.runs.live) == 1)
        slow.opened.set()
        assert (await applied).status == 200, (await applied).text
