"""What programs see that speak Ollama's API: real HTTP, a scripted model."""

import asyncio
import base64
import json
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from msgspec import structs

from extensions.api_kit.api import PROGRAMS
from extensions.models.api import MODELS
from extensions.ollama_api.listing import Listed, details
from extensions.ollama_api.showing import read
from kernel.api import (
    INPUT,
    LOADERS,
    OUTPUT,
    UNSET,
    Image,
    Loader,
    Message,
    Phase,
    Reasoning,
    Refused,
    Request,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    whole_text,
)
from kernel.testing import App, Scripted, ScriptedGeneration, ScriptedLoader, running
from tests.engines.real import STORIES
from tests.sockets import Served, serving

HELLO = [{"role": "user", "content": "Hello?"}]
PNG = b"\x89PNG\r\n\x1a\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
NOW = {"function": {"name": "now"}}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'
EXTENSIONS = ("ollama_api", "openai_api", "instruct", "models", "reasoning", "tool_calls")


class Model(Scripted):
    """Makes vectors of the length of a text, and knows the marks for filling in."""

    async def call(self, name: str, **data: Any) -> Any:
        if name == "embed":
            return [[3.0, 4.0, float(len(text))] for text in data["texts"]]
        if name == "tokenize":
            marks = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
            return [1] if data["text"] in marks else [*data["text"].encode()]
        return await super().call(name, **data)


@pytest.fixture
def model() -> Model:
    able = ("text", "grammar", "logprobs", "tools", "images")
    return Model("One two.", capabilities=able, logprobs=(-0.5, -math.inf))


@pytest.fixture
async def app(model: Model) -> AsyncIterator[App]:
    async with running(*EXTENSIONS, model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def ask(served: Served, path: str, method: str = "POST", **body: Any) -> httpx.Response:
    headers = body.pop("headers", {})
    async with httpx.AsyncClient(timeout=60) as web:
        url = f"{served.http}/api/{path}"
        return await web.request(method, url, json=body or None, headers=headers)


async def lines(served: Served, path: str = "chat", **body: Any) -> list[Any]:
    """A stream: lines that say what they are, of which the last one alone is done."""
    answer = await ask(served, path, **body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["done"] for each in found] == [False] * (len(found) - 1) + [True]
    return found


def told(model: Model) -> tuple[Message, ...]:
    """What the model was asked last."""
    messages = model.asked[-1].messages
    assert messages
    return messages


async def test_a_chat_line_by_line(served: Served):
    said = await lines(served, messages=HELLO, model="scripted:latest")
    assert [each["message"]["content"] for each in said] == ["One", " two.", ""]
    assert {each["model"] for each in said} == {"scripted"}
    assert {each["message"]["role"] for each in said} == {"assistant"}
    last = said[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 10, 2)
    assert last["total_duration"] > last["load_duration"] >= 0
    assert {"prompt_eval_duration", "eval_duration"} <= last.keys()


async def test_a_chat_in_one(served: Served):
    answer = await ask(served, "chat", messages=HELLO, stream=False)
    said = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert said["message"] == {"role": "assistant", "content": "One two."}
    assert (said["done"], said["done_reason"]) == (True, "stop")
    limit = {"num_predict": 1}
    said = (await ask(served, "chat", messages=HELLO, stream=False, options=limit)).json()
    assert (said["message"]["content"], said["done_reason"]) == ("One", "length")


async def test_one_question(served: Served, model: Model):
    picture = base64.b64encode(PNG).decode()
    said = await lines(served, "generate", prompt="Hi", system="Be brief.", images=[picture])
    assert "".join(each["response"] for each in said) == "One two."
    assert said[-1]["context"] == []
    first, second = told(model)
    assert (first.role, first.text) == ("system", "Be brief.")
    assert second.parts == (Image(PNG, "image/png"), Text("Hi"))
    said = (await ask(served, "generate", prompt="Hi", stream=False, context=[])).json()
    assert (said["response"], said["done_reason"]) == ("One two.", "stop")


async def test_a_text_is_gone_on_with(served: Served, model: Model):
    await lines(served, "generate", prompt="Once upon", raw=True)
    assert (model.asked[-1].prompt, model.asked[-1].messages) == ("Once upon", None)
    picture = base64.b64encode(PNG).decode()
    await lines(served, "generate", prompt="Once upon", raw=True, images=[picture])
    [message] = [*(model.asked[-1].messages or ())]
    assert message.parts == (Image(PNG, "image/png"), Text("Once upon"))
    assert model.asked[-1].prompt is None
    await lines(served, "generate", prompt="def f(", suffix="return a")
    assert model.asked[-1].prompt == "<|fim_prefix|>def f(<|fim_suffix|>return a<|fim_middle|>"


async def test_thoughts_and_calls(served: Served, model: Model):
    model.scripts = [f"<think>Hm, well.</think>\n\n{CALL}\n{CALL}"]
    said = (await ask(served, "chat", messages=HELLO, tools=[TOOL], stream=False)).json()
    message = said["message"]
    assert (message["content"], message["thinking"]) == ("", "Hm, well.")
    functions = [call["function"] for call in message["tool_calls"]]
    args = {"city": "Paris"}
    assert functions == [{"index": n, "name": "weather", "arguments": args} for n in (0, 1)]
    messages = [each["message"] for each in await lines(served, messages=HELLO, tools=[TOOL])]
    assert "".join(each.get("thinking", "") for each in messages) == "Hm, well."
    calls = [call for each in messages for call in each.get("tool_calls", ())]
    assert [call["function"] for call in calls] == functions
    said = (await ask(served, "generate", prompt="Hi", stream=False)).json()
    assert said["thinking"] == "Hm, well."


async def test_a_conversation_with_everything(model: Model):
    few = "ollama_api", "instruct", "models"
    picture = base64.b64encode(PNG).decode()
    call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    other = {**NOW, "id": "c9"}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "See?", "images": [picture]},
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call, call, other]},
        {"role": "tool", "content": "Noon.", "tool_name": "now"},
        {"role": "tool", "content": "Rain."},
        {"role": "tool", "content": "Sun.", "tool_name": "weather"},
    ]
    async with running(*few, model=model) as app, serving(app) as served:
        # Nobody puts thoughts or calls in other words here.
        assert (await ask(served, "chat", messages=messages)).status_code == 200
        asked = told(model)
        assert asked[1].parts == (Image(PNG, "image/png"), Text("See?"))
        rome = '{"city":"Rome"}'
        calls = (ToolCall("call_2_0", "weather", rome), ToolCall("call_2_1", "weather", rome))
        assert asked[2].parts == (Reasoning("Hm."), *calls, ToolCall("c9", "now", "{}"))
        results = ("c9", "Noon."), ("call_2_0", "Rain."), ("call_2_1", "Sun.")
        assert [each.parts[0] for each in asked[3:]] == [ToolResult(*each) for each in results]
        answer = await ask(served, "chat", messages=[*messages, messages[-1]])
        assert (answer.status_code, answer.json()["error"][:11]) == (400, "messages[6]")
        begun = [*HELLO, {"role": "assistant", "content": "Well"}]
        await ask(served, "chat", messages=begun)
        assert model.asked[-1].continue_


async def test_options(app: App, served: Served, model: Model):
    seen: list[Turn] = []

    async def note(turn: Turn) -> Turn:
        seen.append(turn)
        return turn

    app.extension("ollama_api").on(INPUT)(note)
    options = {
        "num_predict": 5, "num_ctx": 2, "temperature": 0, "top_k": 4, "stop": ["END"], "seed": 7,
        "mirostat": 2, "mirostat_tau": 4, "repeat_penalty": 1.2, "repeat_last_n": -1,
        "num_gpu": 99, "penalize_newline": True, "num_thread": "all",
    }  # fmt: skip
    await ask(served, "chat", messages=HELLO, options=options)
    said = seen[-1].sampling
    assert (said.max_new_tokens, said.temperature, said.top_k, said.seed) == (5, 0, 4, 7)
    assert (said.mirostat_mode, said.mirostat_tau) == (2, 4)
    assert (said.repetition_penalty, said.repetition_penalty_range) == (1.2, 0)
    assert said.custom_stopping_strings == ("END",)
    assert said.truncation_length is UNSET
    off = {"repeat_penalty": 1.2, "repeat_last_n": 0, "num_predict": -1}
    await ask(served, "chat", messages=HELLO, options=off)
    assert seen[-1].sampling.repetition_penalty is UNSET
    assert seen[-1].sampling.max_new_tokens is UNSET
    for think, told in (
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        (None, {}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
    ):
        await ask(served, "chat", messages=HELLO, think=think)
        assert seen[-1].options == told
    for form, grammar in (("json", {"type": "object"}), (SCHEMA, SCHEMA)):
        await ask(served, "generate", prompt="Hi", format=form)
        assert json.loads(model.asked[-1].grammar) == grammar
    await ask(served, "chat", messages=HELLO, format="")
    assert not model.asked[-1].grammar


async def test_how_likely_tokens_were(served: Served):
    body = {"messages": HELLO, "logprobs": True, "top_logprobs": 1}
    said = (await ask(served, "chat", stream=False, **body)).json()["logprobs"]
    assert said[0] == {
        "token": "One", "logprob": -0.5, "bytes": [*b"One"],
        "top_logprobs": [{"token": "One", "logprob": -0.5, "bytes": [*b"One"]}],
    }  # fmt: skip
    assert said[1]["logprob"] == -9999.0
    streamed = [each for line in await lines(served, **body) for each in line.get("logprobs", ())]
    assert streamed == said


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"messages": "Hello?"}, "messages"),
    ("chat", {"messages": [{"role": "human", "content": "x"}]}, "messages[0].role"),
    ("chat", {"messages": [{"role": "user", "images": ["!"]}]}, "messages[0].images[0]"),
    ("chat", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
    ("chat", {"messages": HELLO, "stream": "no"}, "stream"),
    ("chat", {"messages": HELLO, "tools": [{"type": "function"}]}, "tools[0].function.name"),
    ("chat", {"messages": HELLO, "options": {"temperature": "hot"}}, "temperature"),
    ("chat", {"messages": HELLO, "options": {"temperature": 9}}, "temperature"),
    ("chat", {"messages": HELLO, "options": []}, "options"),
    ("chat", {"messages": HELLO, "think": "much"}, "think"),
    ("chat", {"messages": HELLO, "format": "xml"}, "format"),
    ("chat", {"messages": HELLO, "keep_alive": "long"}, "keep_alive"),
    ("chat", {"messages": [{**HELLO[0], "tool_calls": [NOW] * 101}]}, "tool_calls"),
    ("generate", {"prompt": 7}, "prompt"),
    ("generate", {"prompt": "Hi", "template": "{{ .Prompt }}"}, "template"),
    ("generate", {"prompt": "Hi", "context": [1]}, "context"),
    ("generate", {"prompt": "Hi", "suffix": "x", "images": ["iVBORw=="]}, "images"),
    ("embed", {"input": 7}, "input"),
    ("embed", {"input": "x"}, "--embedding-model"),
    ("embeddings", {"prompt": "x"}, "embedding"),
    ("show", {}, "model"),
]


async def test_what_is_wrong_is_named(served: Served):
    for path, body, field in WRONG:
        answer = await ask(served, path, **(body or {"x": 1}))
        assert answer.status_code == 400, (path, body)
        assert answer.json().keys() == {"error"}
        assert field in answer.json()["error"], (path, body)


async def test_what_spindle_does_elsewhere_is_refused(served: Served):
    for path in ("pull", "push", "create", "copy", "blobs/sha256:0"):
        answer = await ask(served, path, model="x")
        assert (answer.status_code, "models/" in answer.json()["error"]) == (400, True)
    assert (await ask(served, "delete", "DELETE", model="x")).status_code == 400


async def test_without_a_model():
    async with running(*EXTENSIONS) as app, serving(app) as served:
        bodies: dict[str, dict[str, Any]] = {
            "chat": {"messages": HELLO},
            "generate": {"prompt": "Hi"},
        }
        for path, body in bodies.items():
            for stream in (True, False):
                answer = await ask(served, path, stream=stream, **body)
                assert (answer.status_code, [*answer.json()]) == (503, ["error"])
        assert (await ask(served, "generate", model="x")).status_code == 503
        assert (await ask(served, "ps", "GET")).json() == {"models": []}


async def test_a_failure_after_the_first_line_is_the_last_line():
    model = Scripted("One two three.", gate=asyncio.Semaphore(1))
    async with (
        running(*EXTENSIONS, model=model) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        body = {"messages": HELLO}
        async with web.stream("POST", f"{served.http}/api/chat", json=body) as answer:
            found = answer.aiter_lines()
            async for line in found:
                if "One" in line:
                    break
            model.die("The engine stopped.")
            rest = [json.loads(line) async for line in found]
        assert rest[-1].keys() == {"error"}
        assert "engine stopped" in rest[-1]["error"]


async def test_a_sign_of_life_upsets_no_reader_of_lines(monkeypatch: pytest.MonkeyPatch):
    gate = asyncio.Semaphore(0)
    async with (
        running(*EXTENSIONS, model=Scripted("One two.", gate=gate)) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        # Of the running extension, whose modules are not those that were imported here.
        monkeypatch.setattr(sys.modules["extensions.api_kit.calls"].Out, "QUIET", 0.1)
        body = {"messages": HELLO}
        async with web.stream("POST", f"{served.http}/api/chat", json=body) as answer:
            pieces = answer.aiter_text()
            text = await anext(pieces)
            assert not text.strip(" ")
            for _ in range(3):
                gate.release()
            text += "".join([piece async for piece in pieces])
        said = [json.loads(line)["message"]["content"] for line in text.splitlines()]
        assert said == ["One", " two.", ""]


async def test_who_leaves_frees_the_engine():
    model = Scripted("A b c.", gate=asyncio.Semaphore(1))
    async with running(*EXTENSIONS, model=model) as app, serving(app) as served:
        for stream in (True, False):
            async with httpx.AsyncClient(timeout=0.3) as web:
                body = {"messages": HELLO, "stream": stream}
                with pytest.raises(httpx.ReadTimeout):
                    await web.post(f"{served.http}/api/chat", json=body)
            [programs] = app.kernel.registry.values(PROGRAMS)
            await app.until(lambda runs=programs.runs: not runs.live)


async def test_text_that_may_be_rewritten_comes_at_the_end(app: App, served: Served):
    async def shout(text: str) -> str:
        return text.upper()

    add = app.kernel.registry.add
    add(OUTPUT, whole_text(shout), "test", phase=Phase.NORMAL, rank=0, rewrites=True)
    said = [each["message"]["content"] for each in await lines(served, messages=HELLO)]
    assert "".join(said) == "ONE TWO."


async def test_a_prompt_that_is_too_long_is_refused_and_not_cut():
    class Full(Model):
        def generate(self, request: Request) -> ScriptedGeneration:
            raise Refused("The prompt has 5 tokens, and the context of this model 4.")

    full = Full("x")
    full.info = structs.replace(full.info, context_length=1)
    async with running(*EXTENSIONS, model=full) as app, serving(app) as served:
        for stream in (True, False):
            answer = await ask(
                served, "generate", prompt="A b", raw=True, stream=stream, options={"num_ctx": 9000}
            )
            assert answer.status_code == 400
            assert "context of this model" in answer.json()["error"]


# --- models ---------------------------------------------------------------------------------


class Any_(ScriptedLoader):
    """Loads GGUF files, and calls a model by its file's name."""

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf"

    async def open(self, path: Path, options: Any, report: Any) -> Scripted:
        info = self.model.info
        self.model.info = structs.replace(info, name=path.stem, path=str(path))
        return await super().open(path, options, report)


@pytest.fixture
async def library(app: App, model: Model) -> AsyncIterator[Served]:
    """Two models below models/, of which none is loaded."""
    (app.kernel.models / "more").mkdir(parents=True)
    data = (STORIES / "stories260K.gguf").read_bytes()
    for name in ("tiny-1.5B-Q4_K_M.gguf", "more/other.gguf"):
        (app.kernel.models / name).write_bytes(data)
    add = app.kernel.registry.add
    loader = cast(Loader, Any_(model))
    add(LOADERS, loader, "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
    await app.kernel.slot().unload()
    [models] = app.kernel.registry.values(MODELS)
    await models._views.look()
    async with serving(app) as served:
        yield served


async def test_models_are_listed_by_the_names_of_v1(library: Served, app: App):
    async with httpx.AsyncClient(timeout=60) as web:
        v1 = (await web.get(f"{library.http}/v1/models")).json()["data"]
    tags = (await ask(library, "tags", "GET")).json()["models"]
    assert [each["name"] for each in tags] == [each["id"] for each in v1]
    [tiny] = [each for each in tags if each["name"].startswith("tiny")]
    assert tiny["name"] == tiny["model"] == "tiny-1.5B-Q4_K_M"
    assert tiny["size"] == (STORIES / "stories260K.gguf").stat().st_size
    assert (tiny["details"]["format"], tiny["details"]["parameter_size"]) == ("gguf", "1.5B")
    assert tiny["details"]["quantization_level"] == "Q4_K_M"
    assert len(tiny["digest"]) == 64
    assert tiny["modified_at"].endswith("Z")


async def test_what_a_name_says_of_a_model():
    for name, size, quant in (
        ("Qwen2.5-0.5B-Instruct.IQ3_XS.gguf", "0.5B", "IQ3_XS"),
        ("gpt-oss-20b-mxfp4.gguf", "20B", "MXFP4"),
        ("model", "", ""),
    ):
        found = details(Listed(name=name, path=Path(name), size=1))
        assert (found.parameter_size, found.quantization_level) == (size, quant)


async def test_a_model_is_shown(library: Served, app: App, model: Model):
    said = (await ask(library, "show", name="tiny-1.5B-Q4_K_M:latest")).json()
    facts = said["model_info"]
    family = facts["general.architecture"]
    assert (family, facts[f"{family}.context_length"]) == ("llama", 2048)
    assert facts["general.parameter_count"] > 200_000
    assert said["capabilities"] == ["completion"]
    assert (await ask(library, "show", model="none")).status_code == 404
    template = "{{ tools }} {% if enable_thinking %}<think>{% endif %}"
    model.info = structs.replace(model.info, chat_template=template)
    await app.configure("ollama_api", load_by_name=True)
    await ask(library, "generate", model="other")
    said = (await ask(library, "show", model="other")).json()
    assert said["capabilities"] == ["completion", "tools", "thinking", "vision"]
    assert said["model_info"]["llama.context_length"] == 4096
    assert said["parameters"].split() == ["num_ctx", "4096"]
    assert said["template"] == template


async def test_models_come_and_go_by_name_where_that_is_wanted(library: Served, app: App):
    slot = app.kernel.slot()
    other = {"model": "other:latest"}
    assert (await ask(library, "generate", **other)).status_code == 503
    await app.configure("ollama_api", load_by_name=True)
    said = (await ask(library, "generate", **other, stream=False)).json()
    assert (said["done"], said["done_reason"], said["model"]) == (True, "load", "other")
    [loaded] = (await ask(library, "ps", "GET")).json()["models"]
    assert (loaded["name"], loaded["context_length"]) == ("other", 4096)
    said = await lines(library, messages=HELLO, model="tiny-1.5B-Q4_K_M")
    assert {each["model"] for each in said} == {"tiny-1.5B-Q4_K_M"}
    missing = await ask(library, "chat", messages=HELLO, model="gone")
    assert (missing.status_code, "not found" in missing.json()["error"]) == (404, True)
    await lines(library, messages=HELLO, keep_alive=0)
    assert not slot.model
    await lines(library, "generate", **other)
    [said] = await lines(library, "generate", **other, keep_alive="0s")
    assert (said["done_reason"], slot.model) == ("unload", None)


async def test_of_two_files_of_one_name_each_is_asked_by_its_own(library: Served, app: App):
    twin = app.kernel.models / "twins" / "other.gguf"
    twin.parent.mkdir()
    twin.write_bytes((STORIES / "stories260K.gguf").read_bytes())
    await app.configure("ollama_api", load_by_name=True)
    named = {"other": "more/other.gguf", "twins/other.gguf": "twins/other.gguf"}
    for name, file in (*named.items(), *named.items()):
        answer = await ask(library, "generate", model=name, stream=False)
        assert (answer.status_code, answer.json().get("model")) == (200, name), answer.text
        said = await lines(library, messages=HELLO, model=name)
        assert {each["model"] for each in said} == {name}
        model = app.kernel.slot().model
        assert model
        assert model.info.path == str(app.kernel.models / file)
        tags = [each["name"] for each in (await ask(library, "tags", "GET")).json()["models"]]
        assert tags[0] == name
        async with httpx.AsyncClient() as web:
            v1 = (await web.get(f"{library.http}/v1/models")).json()["data"]
        assert sorted(each["id"] for each in v1) == sorted(tags) == sorted({*named, *tags})
        [loaded] = (await ask(library, "ps", "GET")).json()["models"]
        assert loaded["name"] == name
    await ask(library, "generate", model="other", keep_alive=0)
    assert app.kernel.slot().model, "it is the other one that is loaded"


async def test_who_may_not_unload_does_not(served: Served, app: App):
    unload = {"model": "scripted", "keep_alive": 0}
    assert (await ask(served, "generate", **unload)).status_code == 403
    await lines(served, messages=HELLO, **unload)
    assert app.kernel.slot().model
    key = {"Authorization": f"Bearer {served.key}"}
    assert (await ask(served, "generate", **unload, headers=key)).status_code == 200
    assert not app.kernel.slot().model


async def test_a_model_that_others_use_is_not_taken_away():
    gate = asyncio.Semaphore(0)
    model = Scripted("One two.", gate=gate)
    settings = {"ollama_api": {"load_by_name": True}, "api_kit": {"at_once": 2}}
    async with (
        running(*EXTENSIONS, model=model, settings=settings) as app,
        serving(app) as served,
    ):
        one = {"num_predict": 1}
        first = asyncio.create_task(lines(served, messages=HELLO, keep_alive=0, options=one))
        await app.until(lambda: len(model.asked) == 1)
        second = asyncio.create_task(lines(served, messages=HELLO, keep_alive=0))
        await app.until(lambda: len(model.asked) == 2)
        for _ in range(3):  # A word for the first, one for the second, the end of the first.
            gate.release()
        await asyncio.wait_for(first, 20)
        assert app.kernel.slot().model
        assert not second.done()
        for _ in range(3):
            gate.release()
        assert [each["message"]["content"] for each in await second] == ["One", " two.", ""]
        assert not app.kernel.slot().model


async def test_a_model_that_replies_to_a_page_is_not_taken_away():
    settings = {"ollama_api": {"load_by_name": True}}
    async with running(*EXTENSIONS, settings=settings) as app, serving(app) as served:
        await app.load_in_worker("word " * 10_000, "Hi.", "Hi.", pause=0.01)
        slot = app.kernel.slot()
        page = app.run(Turn(prompt="A page's"))
        words = aiter(page)
        await anext(words)
        await lines(served, messages=HELLO, keep_alive=0)
        assert slot.model
        page.cancel()
        _ = [word async for word in words]
        assert page.finish
        assert page.finish.reason == "cancelled"
        await lines(served, messages=HELLO, keep_alive=0)
        assert not slot.model


async def test_vectors(served: Served, app: App):
    embedder = Model("x")
    embedder.info = structs.replace(embedder.info, name="bge", slot="embedding")
    add = app.kernel.registry.add
    loader = ScriptedLoader(embedder)
    add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
    await app.kernel.slot("embedding").load(Path("bge"), loader.id)
    said = (await ask(served, "embed", input=["ab", "c"], truncate=True)).json()
    assert (said["model"], said["prompt_eval_count"]) == ("bge", 3)
    assert said["embeddings"] == [[3, 4, 2], [3, 4, 1]]
    said = (await ask(served, "embed", input="ab", dimensions=2)).json()
    assert said["embeddings"] == [[0.6, 0.8]]
    assert (await ask(served, "embed", input="")).json()["embeddings"] == []
    said = (await ask(served, "embeddings", prompt="ab")).json()
    assert said == {"embedding": [3, 4, 2]}
    assert (await ask(served, "embeddings", prompt="")).json() == {"embedding": []}
    loaded = (await ask(served, "ps", "GET")).json()["models"]
    assert [each["name"] for each in loaded] == ["scripted", "bge"]
    assert (await ask(served, "show", model="bge")).json()["capabilities"] == ["embedding"]


async def test_the_release_is_one_that_clients_talk_to(served: Served):
    version = (await ask(served, "version", "GET")).json()["version"]
    assert [*map(int, version.split("."))] > [0, 6, 4]


@pytest.mark.parametrize(
    "config", ["[1]", "[" * 200_000, '{"model_type": "\\ud800"}', "{", '{"hidden_size": "x"}']
)
def test_a_configuration_that_is_none_is_listed_all_the_same(tmp_path: Path, config: str):
    (tmp_path / "config.json").write_text(config)
    header = read(tmp_path)
    assert (header.facts, header.family.encode().strip(b"?")) == ({}, b"")


async def test_an_unload_ends_no_load_that_somebody_waits_for(
    library: Served, app: App, model: Model, monkeypatch: pytest.MonkeyPatch
):
    await app.configure("ollama_api", load_by_name=True)
    [programs] = app.kernel.registry.values(PROGRAMS)
    await lines(library, messages=HELLO, model="other")
    [loader] = [each for each in app.kernel.registry.values(LOADERS) if isinstance(each, Any_)]
    opens, begun, go = loader.open, asyncio.Event(), asyncio.Event()

    async def slow(*said: Any) -> Any:
        begun.set()
        await go.wait()
        return await opens(*said)

    keeping = sys.modules["extensions.ollama_api.keeping"].Keeper
    after = keeping.after

    async def late(*said: Any) -> None:
        await begun.wait()
        await after(*said)

    monkeypatch.setattr(keeping, "after", late)
    monkeypatch.setattr(loader, "open", slow)
    model.gate, asked = (gate := asyncio.Semaphore(0)), len(model.asked)
    first = asyncio.create_task(lines(library, messages=HELLO, model="other", keep_alive=0))
    await app.until(lambda: len(model.asked) == asked + 1)
    more = {"messages": HELLO, "model": "tiny-1.5B-Q4_K_M", "stream": False}
    second = asyncio.create_task(ask(library, "chat", **more))
    await app.until(lambda: programs.holding.waiting)
    for _ in range(200):
        gate.release()
    await first
    await begun.wait()
    go.set()
    assert (await second).status_code == 200
