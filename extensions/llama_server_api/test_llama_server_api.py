"""What programs see that speak to llama.cpp's own server: real HTTP, a scripted model."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs

from extensions.api_kit.api import PROGRAMS
from kernel.testing import App, Scripted, running
from tests.sockets import Served, serving


class Counting(Scripted):
    """Has a token for each letter."""

    async def call(self, name: str, **data: Any) -> Any:
        match name:
            case "tokenize":
                ids = [1] * data.get("special", True) + [ord(each) for each in data["text"]]
                if data.get("pieces"):
                    return [(id, b"\xc3" if id == 1 else chr(id).encode(), id == 1) for id in ids]
                return ids
            case "detokenize":
                return "".join(map(chr, data["token_ids"]))
            case "embed":
                return [[float(len(text))] for text in data["texts"]]
            case "template":
                lines = [f"{m['role']}: {m['parts'][0]['text']}" for m in data["messages"]]
                return "\n".join((*lines, "assistant:"))
            case _:
                return await super().call(name, **data)


@pytest.fixture
def model() -> Scripted:
    return Counting(
        " upon a time.", capabilities=("text", "logprobs", "grammar"), logprobs=(-0.5, -1.0)
    )


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("llama_server_api", "instruct", model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def get(served: Served, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.get(f"{served.http}/{path}")


async def post(served: Served, path: str = "completion", **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.post(f"{served.http}/{path}", json=body)


async def events(served: Served, **body: Any) -> list[Any]:
    answer = await post(served, stream=True, **body)
    assert answer.headers["content-type"] == "text/event-stream", answer.text
    return [json.loads(each.removeprefix("data: ")) for each in answer.text.split("\n\n") if each]


@pytest.mark.parametrize("path", ["completion", "completions"])
async def test_a_text_goes_on(served: Served, path: str):
    said = (await post(served, path, prompt="Once")).json()
    assert (said["content"], said["stop"], said["stop_type"]) == (" upon a time.", True, "eos")
    assert (said["tokens_evaluated"], said["tokens_predicted"]) == (10, 3)
    assert (said["model"], said["stopping_word"], said["truncated"]) == ("scripted", "", False)
    assert said["timings"]["predicted_n"] == 3
    assert said["tokens"] == []
    assert "completion_probabilities" not in said
    said = (await post(served, path, prompt="Once", n_predict=1, return_tokens=True)).json()
    assert (said["content"], said["stop_type"], said["tokens"]) == (" upon", "limit", [1])


async def test_a_stream(served: Served):
    *said, last = await events(served, prompt="Once")
    assert "".join(each["content"] for each in said) == " upon a time."
    assert [each["stop"] for each in said] == [False] * 3
    assert [each["tokens_predicted"] for each in said] == [1, 2, 3]
    assert (last["stop"], last["content"], last["stop_type"]) == (True, "", "eos")
    assert last["timings"]
    assert not {"message", "detail", "error"} & {key for each in (*said, last) for key in each}


async def test_what_is_asked_reaches_the_model(served: Served, model: Scripted):
    body = {
        "prompt": "Once", "n_predict": -1, "top_k": 0, "repeat_penalty": 1.1, "repeat_last_n": -1,
        "samplers": ["penalties", "typ_p", "temperature"], "stop": ["END"], "typical_p": 0.9,
        "json_schema": {"type": "object"}, "cache_prompt": True, "ignore_eos": True, "seed": 3,
        "logit_bias": [[5, False], [6, 1.5]], "mirostat": 2, "mirostat_tau": 4, "api_server": "x",
    }  # fmt: skip
    assert (await post(served, **body)).status_code == 200
    [request] = model.asked
    said = request.sampling
    assert (said.temperature, said.top_k, said.top_p, said.min_p) == (0.8, 0, 0.95, 0.05)
    assert (said.repetition_penalty, said.repetition_penalty_range) == (1.1, 0)
    assert said.sampler_priority == (
        "repetition_penalty", "presence_penalty", "frequency_penalty", "typical_p", "temperature",
        "dynamic_temperature",
    )  # fmt: skip
    assert (said.custom_stopping_strings, said.ban_eos_token, said.seed) == (("END",), True, 3)
    assert said.logit_bias == {5: -100.0, 6: 1.5}
    assert (said.mirostat_mode, said.mirostat_tau) == (2, 4.0)
    assert request.grammar == '{"type":"object"}'
    await post(served, prompt="Once", samplers="kmt")
    assert model.asked[-1].sampling.sampler_priority == (
        "top_k", "min_p", "temperature", "dynamic_temperature",
    )  # fmt: skip


async def test_the_seed_is_told():
    model = Counting("Hi.", samplers=("seed", "temperature", "top_k", "top_p", "min_p"))
    async with (
        running("llama_server_api", "parameters", model=model) as app,
        serving(app) as served,
    ):
        each: tuple[dict[str, Any], ...] = ({}, {"seed": -1}, {"seed": 3})
        for asked in each:
            said = (await post(served, prompt="Once", **asked)).json()
            assert said["generation_settings"]["seed"] == model.asked[-1].sampling.seed
            [*_, last] = await events(served, prompt="Once", **asked)
            assert last["generation_settings"]["seed"] == model.asked[-1].sampling.seed
            assert last["generation_settings"]["seed"] >= 0
        assert model.asked[-1].sampling.seed == 3


async def test_prompts_are_texts_tokens_both_and_several(served: Served, model: Scripted):
    await post(served, prompt=[5, 6])
    assert (model.asked[-1].prompt, model.asked[-1].token_ids) == (None, (5, 6))
    await post(served, prompt=["a", 6, "b"])
    assert model.asked[-1].token_ids == (1, 97, 6, 98)
    await post(served, prompt={"prompt_string": "x"})
    assert model.asked[-1].prompt == "x"
    said = (await post(served, prompt=["x", [5]])).json()
    assert [each["index"] for each in said] == [0, 1]
    assert {request.prompt for request in model.asked[-2:]} == {"x", None}
    said = await events(served, prompt=["x", "y"])
    assert {each["index"] for each in said} == {0, 1}
    assert sum(each["stop"] for each in said) == 2


async def test_how_likely_it_was(served: Served, model: Scripted):
    said = (await post(served, prompt="Once", n_probs=1)).json()["completion_probabilities"]
    assert [each["logprob"] for each in said] == [-0.5, -1.0, -0.5]
    assert said[0]["token"] == " upon"
    assert said[0]["top_logprobs"][0] == {
        "token": " upon", "bytes": [*b" upon"], "logprob": -0.5,
    }  # fmt: skip
    first, *_ = await events(served, prompt="Once", n_probs=1)
    assert first["completion_probabilities"][0]["logprob"] == -0.5
    assert model.asked[-1].logprobs == 1


WRONG: list[tuple[str, dict[str, Any], str | None]] = [
    ("completion", {}, "prompt"),
    ("completion", {"prompt": 3}, "prompt"),
    ("completion", {"prompt": []}, "prompt"),
    ("completion", {"prompt": [[]]}, "prompt"),
    ("completion", {"prompt": [-1]}, "prompt[0]"),
    ("completion", {"prompt": {"prompt_string": "x", "multimodal_data": ["x"]}},
     "prompt.multimodal_data"),
    ("completion", {"prompt": "x", "n_predict": "many"}, "n_predict"),
    ("completion", {"prompt": "x", "n_predict": 0}, "n_predict"),
    ("completion", {"prompt": "x", "n_probs": 21}, "n_probs"),
    ("completion", {"prompt": "x", "post_sampling_probs": True}, "post_sampling_probs"),
    ("completion", {"prompt": "x", "lora": [{"id": 0, "scale": 1}]}, "lora"),
    ("completion", {"prompt": "x", "temperature": "hot"}, "temperature"),
    ("tokenize", {"content": 3}, "content"),
    ("detokenize", {"tokens": ["x"]}, "tokens[0]"),
    ("apply-template", {"messages": []}, "messages"),
    ("apply-template", {"messages": [{"role": "x"}]}, "messages[0].role"),
    ("embedding", {"content": [3]}, "content[0]"),
]  # fmt: skip
"""Where, what is sent there, and the field that the answer names."""


async def test_what_is_wrong_is_named(served: Served):
    for path, body, param in WRONG:
        answer = await post(served, path, **body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), (path, body)
        assert set(error) == {"message", "type", "param", "code"}


async def test_tokens(served: Served):
    assert (await post(served, "tokenize", content="ab")).json() == {"tokens": [97, 98]}
    said = await post(served, "tokenize", content="a", add_special=True, with_pieces=True)
    assert said.json() == {"tokens": [{"id": 1, "piece": [0xC3]}, {"id": 97, "piece": "a"}]}
    assert (await post(served, "detokenize", tokens=[97])).json() == {"content": "a"}


async def test_what_is_no_token_of_the_model_never_reaches_it(served: Served, model: Scripted):
    model.info = structs.replace(model.info, vocabulary_size=512)
    for path, body, param in (
        ("completion", {"prompt": [1, 512]}, "prompt"),
        ("completion", {"prompt": [[1], [2**31]]}, "prompt[0]"),
        ("detokenize", {"tokens": [512]}, "tokens"),
        ("detokenize", {"tokens": [-1]}, "tokens"),
    ):
        answer = await post(served, path, **body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), body
    assert (await post(served, "detokenize", tokens=[511])).status_code == 200
    assert not model.asked


async def test_vectors(app: App, served: Served):
    await app.kernel.slot("embedding").load(Path("scripted"), "scripted")
    said = (await post(served, "embedding", content=["abc", "d"])).json()
    assert said == [{"index": 0, "embedding": [[3.0]]}, {"index": 1, "embedding": [[1.0]]}]
    assert (await post(served, "embedding", content="ab")).json()[0]["embedding"] == [[2.0]]


async def test_the_prompt_of_a_conversation(served: Served):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    said = await post(served, "apply-template", messages=messages)
    assert said.json() == {"prompt": "system: Be kind.\nuser: Hi\nassistant:"}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    said = await post(served, "apply-template", messages=[{"role": "user", "content": [picture]}])
    assert (said.status_code, said.json()["error"]["param"]) == (400, "messages[0].content")


class Plain(Counting):
    """Its template shows all that it is given."""

    async def call(self, name: str, **data: Any) -> Any:
        if name == "template":
            return json.dumps([data["messages"], data["tools"], data["template_options"]])
        return await super().call(name, **data)


async def test_the_prompt_is_that_of_chat_completions():
    call = {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    body: dict[str, Any] = {
        "messages": [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "Is it nice?"},
            {"role": "assistant", "tool_calls": [call], "reasoning_content": "I look."},
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
        "chat_template_kwargs": {"enable_thinking": True},
    }
    ids = ("llama_server_api", "openai_api", "instruct", "tool_calls")
    model = Plain(" x.", capabilities=("text", "grammar"))
    async with running(*ids, model=model) as app, serving(app) as served:
        for more in ({}, {"tool_choice": "none"}):
            said = await post(served, "apply-template", **body, **more)
            other = await post(served, "v1/internal/chat-prompt", **body, **more)
            assert said.json()["prompt"] == other.json()["prompt"], said.text
            messages, _, options = json.loads(said.json()["prompt"])
            rules, _, called, answered = map(str, messages)
            assert ("weather" in rules) == (not more), "what may be called"
            assert "Ulm" in called
            assert "Sunny." in answered
            assert options["enable_thinking"] is True


async def test_what_is_there(served: Served):
    assert (await get(served, "health")).json() == {"status": "ok"}
    said = (await get(served, "props")).json()
    assert said["default_generation_settings"]["n_ctx"] == 4096
    assert isinstance(said["chat_template"], str)
    assert (said["model_path"], said["total_slots"]) == ("scripted", 1)
    [slot] = (await get(served, "slots")).json()
    assert (slot["id"], slot["is_processing"], slot["n_ctx"]) == (0, False, 4096)


async def test_models_are_loaded_and_unloaded_by_an_administrator(app: App, served: Served):
    app.kernel.models.mkdir(exist_ok=True)
    (app.kernel.models / "other.gguf").write_bytes(b"GGUF")

    async def change(path: str, name: str, key: str = served.key) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(timeout=60) as web:
            address = f"{served.http}/models/{path}"
            return await web.post(address, json={"model": name}, headers=headers)

    for path in ("load", "unload"):
        assert (await change(path, "scripted", key="")).status_code == 401
    wrong = await change("unload", "other")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "model_not_loaded")
    assert (await change("unload", "scripted")).json() == {"success": True}
    assert not app.kernel.slot("chat").model
    missing = await change("load", "none")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert (await change("load", "other")).json() == {"success": True}
    assert app.kernel.slot("chat").model


async def test_the_page_of_models_stays_where_it_is(app: App, served: Served):
    headers = {"authorization": f"Bearer {served.key}", "accept": "text/html"}
    async with httpx.AsyncClient(timeout=60, headers=headers) as web:
        for path in ("/models", "/models/file/x", "/models/x", "/models/loads"):
            answer = await web.get(served.http + path)
            assert (answer.status_code, "<html" in answer.text) == (200, True), path


async def test_what_it_does_not_do_is_refused_in_words(served: Served):
    for path in ("slots/0?action=save", "slots/0?action=restore", "slots/0?action=erase", "infill"):
        answer = await post(served, path, filename="x", input_prefix="a")
        assert answer.status_code == 400, path
        assert answer.json()["error"]["code"] == "not_supported"
        assert answer.headers["x-should-retry"] == "false"


async def test_without_a_model():
    async with running("llama_server_api", "instruct") as app, serving(app) as served:
        for path in ("health", "props", "slots"):
            answer = await get(served, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_model"), path
        for path, body in (
            ("completion", {"prompt": "x"}),
            ("completion", {"prompt": "x", "stream": True}),
            ("tokenize", {"content": "x"}),
            ("apply-template", {"messages": [{"role": "user", "content": "x"}]}),
        ):
            assert (await post(served, path, **body)).status_code == 503, path
        answer = await post(served, "embedding", content="x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_embedding_model")
        assert "--embedding-model" in answer.json()["error"]["message"]


async def test_who_leaves_frees_the_engine_and_slots_tell_what_goes_on():
    gate = asyncio.Semaphore(1)
    async with (
        running("llama_server_api", model=Scripted(" a b c.", gate=gate)) as app,
        serving(app) as served,
    ):
        [programs] = app.kernel.registry.values(PROGRAMS)
        for stream in (True, False):
            body = {"prompt": "a secret", "stream": stream}
            task = asyncio.create_task(post(served, **body))
            await app.until(lambda: any(run.began for run in programs.runs.live))
            said = await get(served, "slots")
            assert said.json()[0]["is_processing"]
            assert "secret" not in said.text
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await app.until(lambda: not programs.runs.live)


async def test_a_failure_after_the_first_word_is_an_event():
    gate = asyncio.Semaphore(1)
    model = Scripted(" one two.", gate=gate)
    async with (
        running("llama_server_api", model=model) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
        web.stream(
            "POST", f"{served.http}/completion", json={"prompt": "x", "stream": True}
        ) as answer,
    ):
        lines = answer.aiter_lines()
        async for line in lines:
            if " one" in line:
                break
        model.die("The engine stopped.")
        rest = [json.loads(line.removeprefix("data: ")) async for line in lines if line]
        assert list(rest[-1]) == ["error"]


async def test_only_so_many_texts_at_once(served: Served, model: Scripted):
    answer = await post(served, prompt=["a"] * 257)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert not model.asked
