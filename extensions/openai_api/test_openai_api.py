"""What programs see that speak OpenAI's API: real HTTP, a scripted model."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from msgspec import structs

from extensions.api_kit.api import PROGRAMS
from kernel.api import (
    GENERATE,
    LOADERS,
    OUTPUT,
    Draft,
    Image,
    Phase,
    Request,
    ToolResult,
    whole_text,
)
from kernel.testing import App, Scripted, running
from tests.sockets import Served, serving

HELLO = [{"role": "user", "content": "Hello?"}]


@pytest.fixture
def model() -> Scripted:
    return Scripted("One two.", samplers=("temperature", "max_new_tokens", "seed"))


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("openai_api", "instruct", "models", model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def post(served: Served, path: str = "chat/completions", **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.post(f"{served.http}/v1/{path}", json=body)


async def events(served: Served, **body: Any) -> list[Any]:
    """The events of a stream; the last one is the text [DONE]."""
    answer = await post(served, stream=True, **body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_model_is_loaded_by_its_name_where_that_is_wanted():
    said = {"messages": [{"role": "user", "content": "Hello?"}], "model": "another"}
    model = Scripted("Hi.")
    async with running("openai_api", "instruct", model=model) as app:

        async def ask() -> Any:
            return await app.fetch("/v1/chat/completions", "POST", who="key", json=said)

        assert ((await ask()).status, app.kernel.slot().state.name) == (200, "scripted")
        await app.configure("openai_api", load_by_name=True)
        missing = await ask()
        assert (missing.status, missing.json()["error"]["code"]) == (404, "model_not_found")
        file = app.kernel.models / "another.gguf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"GGUF")
        assert (await ask()).status == 200
        assert app.kernel.slot().state.name == "another"
        assert len(model.asked) == 2


async def test_a_request_for_another_model_takes_none_away_and_gets_its_own():
    model = Scripted("One two.")
    settings = {"openai_api": {"load_by_name": True}}
    ids = ("openai_api", "instruct")
    async with running(*ids, model=model, settings=settings) as app, serving(app) as served:
        app.kernel.models.mkdir(parents=True, exist_ok=True)
        for name in "ab":
            (app.kernel.models / f"{name}.gguf").write_bytes(b"GGUF")
        [programs] = app.kernel.registry.values(PROGRAMS)
        [loader] = cast(list[Any], app.kernel.registry.values(LOADERS))
        scripted = loader.open

        async def named(path: Path, *more: Any) -> Scripted:
            opened = await scripted(path, *more)
            opened.info = structs.replace(opened.info, name=path.stem)
            return opened

        loader.open = named
        wrong = await post(served, messages=[], model="a")
        assert wrong.status_code == 400
        await app.until(lambda: not programs.holding.held)
        model.gate = gate = asyncio.Semaphore(0)
        begun, generate = list[tuple[str, str]](), model.generate

        def noting(request: Request) -> Any:
            assert request.messages
            begun.append((request.messages[-1].text, app.kernel.slot().state.name))
            return generate(request)

        model.generate = noting

        def ask(words: str, **more: Any) -> asyncio.Task[httpx.Response]:
            said = [{"role": "user", "content": words}]
            return asyncio.create_task(post(served, messages=said, **more))

        asked = [ask("First.", model="a")]
        await app.until(lambda: bool(begun))
        asked.append(ask("Second.", model="a"))
        await app.until(lambda: len(programs.runs.live) == 2)
        asked.append(ask("Third.", model="b"))
        await app.until(lambda: programs.holding.waiting)
        assert (await ask("No.", model="gone")).status_code == 404, "which nobody waits for"
        asked.append(ask("Fourth.", model="a", n=2))
        for _ in range(15):
            gate.release()
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 4
        assert begun == [
            ("First.", "a"), ("Second.", "a"), ("Third.", "b"), ("Fourth.", "a"), ("Fourth.", "a"),
        ]  # fmt: skip
        await app.until(lambda: not programs.holding.held)


async def test_of_two_files_of_one_name_the_one_that_loads_and_replies_is_named():
    model = Scripted("One two.")
    settings = {"openai_api": {"load_by_name": True}}
    ids = ("openai_api", "instruct")
    async with running(*ids, model=model, settings=settings) as app, serving(app) as served:
        for name in ("a.gguf", "b.gguf", "twins/a.gguf"):
            file = app.kernel.models / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"GGUF")
        [loader] = cast(list[Any], app.kernel.registry.values(LOADERS))
        scripted, begun, ready = loader.open, asyncio.Event(), asyncio.Event()

        async def slow(path: Path, *more: Any) -> Scripted:
            begun.set()
            await ready.wait()
            opened = await scripted(path, *more)
            opened.info = structs.replace(opened.info, name=path.stem, path=str(path))
            return opened

        loader.open = slow
        asked = asyncio.create_task(post(served, messages=HELLO, model="twins/a.gguf"))
        await begun.wait()
        async with httpx.AsyncClient() as web:
            listed = (await web.get(f"{served.http}/v1/models")).json()["data"]
        states = {each["id"]: each["status"]["value"] for each in listed}
        assert (states["a"], states["twins/a.gguf"]) == ("unloaded", "loading")
        ready.set()
        assert (await asked).json()["model"] == "twins/a.gguf"
        streamed = await post(served, messages=HELLO, stream=True)
        assert '"model":"twins/a.gguf"' in streamed.text


async def test_a_whole_reply(served: Served):
    answer = await post(served, messages=HELLO)
    said = answer.json()
    assert answer.status_code == 200
    assert said["object"] == "chat.completion"
    assert said["model"] == "scripted"
    [choice] = said["choices"]
    assert choice["message"] == {"role": "assistant", "content": "One two.", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert said["usage"] == {
        "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip


async def test_a_stream_of_chunks(served: Served):
    said = await events(served, messages=HELLO, stream_options={"include_usage": True})
    assert said[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(c["delta"].get("content", "") for e in said for c in e["choices"])
    assert text == "One two."
    assert [e["choices"][0]["finish_reason"] for e in said if e["choices"]][-1] == "stop"
    assert said[-1]["choices"] == []
    assert said[-1]["usage"]["completion_tokens"] == 2
    assert {e["usage"] for e in said[:-1]} == {None}
    assert len({e["id"] for e in said}) == 1


async def test_what_a_tool_shows_is_seen_after_all_results(served: Served, model: Scripted):
    model.info = structs.replace(model.info, capabilities=("text", "tools", "images"))
    names = [{"id": id, "function": {"name": "look", "arguments": "{}"}} for id in ("c1", "c2")]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    said = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": names},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "A"}, picture]},
        {"role": "tool", "tool_call_id": "c2", "content": "B"},
    ]
    assert (await post(served, messages=said)).status_code == 200
    messages = model.asked[-1].messages
    assert messages
    first, second, shown = messages[-3:]
    assert (first.parts, second.parts) == ((ToolResult("c1", "A"),), (ToolResult("c2", "B"),))
    assert (shown.role, [type(part) for part in shown.parts]) == ("user", [Image])


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,iVBO\r\nRw0K\nGgo=\n", "data:image/png;a=b;base64,iVBORw0KGgo="]
)
async def test_a_picture_may_come_in_lines_and_with_more_said_of_it(
    served: Served, model: Scripted, url: str
):
    model.info = structs.replace(model.info, capabilities=("text", "images"))
    said = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    assert (await post(served, messages=said)).status_code == 200
    messages = model.asked[-1].messages
    assert messages
    assert messages[-1].parts == (Image(b"\x89PNG\r\n\x1a\n", "image/png"),)


async def test_sound_that_the_model_does_not_hear_is_refused(served: Served):
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    answer = await post(served, messages=[{"role": "user", "content": [sound]}])
    assert answer.status_code == 400
    assert "cannot do this: audio. Leave it out" in answer.json()["error"]["message"]


async def test_a_limit_is_told(served: Served):
    said = (await post(served, messages=HELLO, max_tokens=1)).json()
    assert said["choices"][0]["finish_reason"] == "length"
    assert said["choices"][0]["message"]["content"] == "One"


async def test_several_replies_at_once(served: Served, model: Scripted):
    model.scripts = ["First.", "Second.", "Third."]
    said = (await post(served, messages=HELLO, n=3, seed=7)).json()
    texts = {choice["message"]["content"] for choice in said["choices"]}
    assert texts == {"First.", "Second.", "Third."}
    assert [choice["index"] for choice in said["choices"]] == [0, 1, 2]
    assert {request.sampling.seed for request in model.asked} == {7, 8, 9}
    said = await events(served, messages=HELLO, n=2)
    assert {c["index"] for e in said for c in e["choices"]} == {0, 1}
    drawn: set[Any] = {request.sampling.seed for request in model.asked[-2:]}
    assert len(drawn) == 2, "each has its own"
    assert all(seed >= 0 for seed in drawn)


async def test_a_stream_of_several_names_them_in_order(app: App, served: Served, model: Scripted):
    model.info = structs.replace(model.info, capabilities=("text", "batch"))
    [programs] = app.kernel.registry.values(PROGRAMS)
    second = asyncio.Event()
    programs.runs.watchers.append(lambda run: second.set())

    async def later(draft: Draft) -> None:
        """The first reply begins when the second has ended."""
        if draft.request.sampling.seed == 7:
            await second.wait()

    add = app.kernel.registry.add
    add(GENERATE, later, "test", phase=Phase.NORMAL, rank=0, rewrites=False)
    said = await events(served, messages=HELLO, n=2, seed=7)
    choices = [choice for event in said for choice in event["choices"]]
    assert [c["index"] for c in choices if "role" in c["delta"]] == [0, 1]
    assert [c["index"] for c in choices[:2]] == [0, 1]
    assert [c["index"] for c in choices if c["delta"].get("content")] == [1, 1, 0, 0]


async def test_how_much_is_thought(served: Served, model: Scripted):
    for effort in ("low", "medium", "high", "xhigh", "max"):
        answer = await post(served, messages=HELLO, reasoning_effort=effort)
        assert answer.status_code == 200, answer.text
        answer = await post(served, "responses", input="Hi", reasoning={"effort": effort})
        assert answer.json()["reasoning"]["effort"] == effort
    told = [request.template_options["reasoning_effort"] for request in model.asked]
    assert told[::2] == told[1::2] == ["low", "medium", "high", "high", "high"]
    refused = await post(served, messages=HELLO, reasoning_effort="huge")
    assert "none, minimal, low, medium, high, xhigh, max" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": "Hello?"}, "messages"),
        ({"messages": []}, "messages"),
        ({}, "messages"),
        ({"messages": HELLO, "temperature": "hot"}, "temperature"),
        ({"messages": HELLO, "temperature": 9}, "temperature"),
        ({"messages": HELLO, "max_tokens": "many"}, "max_tokens"),
        ({"messages": HELLO, "n": 0}, "n"),
        ({"messages": HELLO, "stream": "yes"}, "stream"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": HELLO, "functions": [{}]}, "functions"),
        ({"messages": HELLO, "mode": "nowhere"}, "mode"),
        ({"messages": HELLO, "top_logprobs": 2}, "top_logprobs"),
        (
            {"messages": HELLO, "response_format": {"type": "json_schema"}},
            "response_format.json_schema.schema",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "http://10.0.0.1/x.png"}}
                        ],
                    }
                ]
            },
            "messages[0].content[0].image_url",
        ),
    ],
)
async def test_what_is_wrong_is_named(served: Served, body: dict[str, Any], param: str):
    answer = await post(served, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-should-retry"] == "false"


async def test_what_nobody_knows_is_let_through(served: Served):
    body = {"api_type": "ooba", "api_server": "x", "temperature": 0.5, "dynatemp_low": 0}
    assert (await post(served, messages=HELLO, **body)).status_code == 200


async def test_another_method_is_refused_in_the_words_of_the_api(served: Served):
    async with httpx.AsyncClient(base_url=served.http) as web:
        answer = await web.get("/v1/chat/completions")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("method_not_allowed", None)
        assert "takes POST, not GET" in error["message"]
        several = await web.put("/v1/responses/resp_1")
        assert (several.status_code, several.headers["allow"]) == (405, "DELETE, GET")


async def test_where_nothing_is_a_program_hears_that_and_not_that_a_key_is_needed(
    app: App, served: Served
):
    async with httpx.AsyncClient(base_url=served.http) as web:

        async def lost(method: str, path: str, key: str = "") -> None:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            answer = await web.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path

        for key in ("", served.key):
            await lost("POST", "/v1/nowhere", key)
            await lost("GET", "/v2/models", key)
        wrong = await web.post("/v1/nowhere", headers={"authorization": "Bearer sk-wrong"})
        assert wrong.json()["error"]["code"] == "not_found", "no key is asked for here"
        asked = {"path": "/v2/models", "headers": [(b"accept", b"text/html,*/*")]}
        assert app.web.access(asked) == "page", "a person is asked to sign in"
        await app.toggle("openai_api", on=False)
        await lost("POST", "/v1/chat/completions")
        await lost("GET", "/v1/models")


async def test_without_a_model():
    async with running("openai_api", "instruct", "models") as app, serving(app) as served:
        answer = await post(served, messages=HELLO)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_model"
        assert "retry-after" not in answer.headers  # Nothing loads: asking again is in vain.
        assert answer.headers["x-should-retry"] == "false"
        streamed = await post(served, messages=HELLO, stream=True)
        assert streamed.status_code == 503


async def test_a_failure_after_the_first_word_is_an_event():
    gate = asyncio.Semaphore(1)
    model = Scripted("One two three.", gate=gate)
    async with (
        running("openai_api", "instruct", "models", model=model) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        body = {"messages": HELLO, "stream": True}
        async with web.stream("POST", f"{served.http}/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            assert answer.status_code == 200
            async for line in lines:
                if "One" in line:
                    break
            model.die("The engine stopped.")
            rest = [json.loads(line[6:]) async for line in lines if line]
        assert list(rest[-1]) == ["error"]
        assert "engine stopped" in rest[-1]["error"]["message"]


async def test_who_leaves_frees_the_engine():
    gate = asyncio.Semaphore(1)
    async with (
        running("openai_api", "instruct", "models", model=Scripted("A b c.", gate=gate)) as app,
        serving(app) as served,
    ):
        for stream in (True, False):
            async with httpx.AsyncClient(timeout=0.3) as web:
                body = {"messages": HELLO, "stream": stream}
                with pytest.raises(httpx.ReadTimeout):
                    await web.post(f"{served.http}/v1/chat/completions", json=body)
            [programs] = app.kernel.registry.values(PROGRAMS)
            await app.until(lambda runs=programs.runs: not runs.live)


@pytest.mark.parametrize("path", ["/v1/chat/completion", "/v1/chat", "/v1/audio/x"])
async def test_where_nothing_is_programs_are_told_in_their_own_form(served: Served, path: str):
    async with httpx.AsyncClient() as web:
        for method in ("GET", "POST"):
            answer = await web.request(method, f"{served.http}{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
            assert path in answer.json()["error"]["message"]


async def test_text_that_may_be_rewritten_comes_at_the_end(app: App, served: Served):
    async def shout(text: str) -> str:
        return text.upper()

    add = app.kernel.registry.add
    add(OUTPUT, whole_text(shout), "test", phase=Phase.NORMAL, rank=0, rewrites=True)
    said = await events(served, messages=HELLO)
    texts = [c["delta"].get("content", "") for e in said for c in e["choices"]]
    assert "".join(texts) == "ONE TWO."


async def test_models_are_listed(served: Served):
    async with httpx.AsyncClient(timeout=60) as web:
        listed = (await web.get(f"{served.http}/v1/models")).json()
        [first, *_] = listed["data"]
        assert (first["id"], first["object"]) == ("scripted", "model")
        assert first["context_length"] == first["max_model_len"] == 4096
        assert first["status"] == {"value": "loaded"}
        assert (await web.get(f"{served.http}/v1/models/scripted")).json() == first
        missing = await web.get(f"{served.http}/v1/models/nowhere/x")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"
