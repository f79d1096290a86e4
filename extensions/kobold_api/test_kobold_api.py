"""What programs see that speak to KoboldAI or KoboldCpp: real HTTP, a scripted model."""

import asyncio
import base64
import gc
import json
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jinja2 import Template
from msgspec import structs

from extensions.api_kit.api import PROGRAMS
from kernel.api import SAMPLERS, Finish, Image, Phase, Samplers, Struct, Text
from kernel.testing import App, Scripted, running
from tests.sockets import Served, serving

BODY = {"prompt": "Once", "max_length": 20}


class Counting(Scripted):
    """Has a token for each letter."""

    async def call(self, name: str, **data: Any) -> Any:
        match name:
            case "tokenize":
                return [1] * data.get("special", True) + [ord(each) for each in data["text"]]
            case "detokenize":
                return "".join(map(chr, data["token_ids"]))
            case "embed":
                return [[float(len(text)), 0.5] for text in data["texts"]]
            case "template":
                how = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": False}
                said = [
                    {"role": each["role"], "content": each["parts"][0]["text"]}
                    for each in data["messages"]
                ]
                return Template(self.info.chat_template).render(messages=said, **how)
            case _:
                return await super().call(name, **data)


@pytest.fixture
def model() -> Scripted:
    return Counting(" upon a time.", samplers=("temperature", "sampler_priority"))


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("kobold_api", model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def ask(served: Served, path: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(timeout=60) as web:
        if not body:
            return await web.get(f"{served.http}/api/{path}", headers=headers)
        return await web.post(f"{served.http}/api/{path}", json=body, headers=headers)


async def events(served: Served, **body: Any) -> list[dict[str, Any]]:
    answer = await ask(served, "extra/generate/stream", **body)
    assert answer.headers["content-type"] == "text/event-stream"
    found = [each for each in answer.text.split("\n\n") if each]
    assert all(each.startswith("event: message\ndata: ") for each in found)
    return [json.loads(each.partition("data: ")[2]) for each in found]


@pytest.mark.parametrize("path", ["v1/generate", "latest/generate"])
async def test_a_text_goes_on(served: Served, path: str):
    answer = await ask(served, path, **BODY)
    assert answer.json() == {
        "results": [
            {
                "text": " upon a time.", "finish_reason": "stop",
                "prompt_tokens": 10, "completion_tokens": 3,
            }
        ]
    }  # fmt: skip
    answer = await ask(served, path, **{**BODY, "max_length": 1})
    [result] = answer.json()["results"]
    assert (result["text"], result["finish_reason"]) == (" upon", "length")


class Bans(Struct, frozen=True):
    """What a loader adds that can keep words out."""

    banned_strings: tuple[str, ...] = ()


async def test_words_that_must_not_come(app: App, served: Served, model: Scripted):
    body = {**BODY, "banned_tokens": ["no", ""]}
    answer = await ask(served, "v1/generate", **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "banned_tokens")
    model.info = structs.replace(model.info, samplers=(*model.info.samplers, "extra"))
    add = app.kernel.registry.add
    add(SAMPLERS, Samplers("scripted", Bans), "test", phase=Phase.NORMAL, rank=0, rewrites=False)
    assert (await ask(served, "v1/generate", **body)).status_code == 200
    assert model.asked[-1].sampling.extra == {"banned_strings": ("no",)}


async def test_what_is_asked_reaches_the_model(served: Served, model: Scripted):
    model.info = structs.replace(model.info, capabilities=("text", "grammar"))
    body = {
        **BODY, "memory": "They say: ", "rep_pen": 1.1, "rep_pen_range": 256, "top_a": 0,
        "sampler_order": [6, 0, 1, 3, 4, 2, 5], "stop_sequence": ["END"], "sampler_seed": 7,
        "use_default_badwordsids": True, "grammar": 'root ::= "x"', "tfs": 1, "min_p": 0.1,
        "logit_bias": {"5": -1}, "banned_tokens": [], "quiet": True, "use_story": False,
        "singleline": True, "dynatemp_range": 0.25, "render_special": True,
    }  # fmt: skip
    assert (await ask(served, "v1/generate", **body)).status_code == 200
    [request] = model.asked
    said = request.sampling
    assert request.prompt == "They say: Once"
    assert request.grammar == 'root ::= "x"'
    assert (said.temperature, said.top_p, said.top_k, said.min_p) == (0.75, 0.92, 100, 0.1)
    assert (said.repetition_penalty, said.repetition_penalty_range) == (1.1, 256)
    assert said.sampler_priority == (
        "repetition_penalty", "presence_penalty", "frequency_penalty", "dry", "top_k", "top_a",
        "tfs", "typical_p", "top_p", "min_p", "temperature", "dynamic_temperature",
        "quadratic_sampling",
    )  # fmt: skip
    assert said.custom_stopping_strings == ("END", "\n")
    assert (said.seed, said.ban_eos_token, said.skip_special_tokens) == (7, True, False)
    assert said.logit_bias == {5: -1.0}
    assert (said.dynamic_temperature, said.dynatemp_low, said.dynatemp_high) == (True, 0.75, 1.25)


CHATML = (
    "{{ bos_token }}{% for each in messages %}<|im_start|>{{ each.role }}\n{{ each.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for each in messages %}{% if each.role == 'user' %}[INST] {{ each.content }}"
    " [/INST]{% else %} {{ each.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
PLACED = "{{[INPUT]}}Hi{{[OUTPUT]}}Ho{{[INPUT]}}Why?{{[OUTPUT]}}"
ENDED = "{{[SYSTEM]}}Be kind.{{[SYSTEM_END]}}{{[INPUT]}}Hi{{[INPUT_END]}}{{[OUTPUT]}}"
STOPS = ["{{[INPUT]}}", "\n{{[OUTPUT]}}", "{{[OUTPUT_END]}}", "END"]
PLACES: list[tuple[str, str, str, tuple[str, ...]]] = [
    (
        "",
        "\n### Instruction:\nHi\n### Response:\nHo\n### Instruction:\nWhy?\n### Response:\n",
        "\n### Instruction:\nBe kind.\n### Instruction:\nHi\n### Response:\n",
        ("### Instruction:", "### Response:", "END"),
    ),
    (
        CHATML,
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n",
        ("<|im_start|>user", "<|im_start|>assistant", "<|im_end|>", "END"),
    ),
    (
        INST,
        "[INST] Hi [/INST] Ho</s>[INST] Why? [/INST] ",
        " Be kind.</s>[INST] Hi [/INST] ",
        ("[INST]", "</s>", "</s>", "END"),
    ),
    (
        "{{ messages[-1].content }}",
        "\n### Instruction:\nHi\n### Response:\nHo\n### Instruction:\nWhy?\n### Response:\n",
        "\n### Instruction:\nBe kind.\n### Instruction:\nHi\n### Response:\n",
        ("### Instruction:", "### Response:", "END"),
    ),
]
"""A model's template, and what becomes of the prompts and the stopping texts above with it."""


@pytest.mark.parametrize(
    ("template", "placed", "ended", "stops"), PLACES, ids=("none", "ChatML", "INST", "bad")
)
async def test_placeholders_are_the_marks_of_the_models_turns(
    served: Served, model: Scripted, template: str, placed: str, ended: str, stops: tuple[str, ...]
):
    model.info = structs.replace(model.info, chat_template=template)
    first, rest = PLACED[:11], PLACED[11:]
    for memory, prompt, text in (("", PLACED, placed), ("", ENDED, ended), (first, rest, placed)):
        body = {"prompt": prompt, "memory": memory, "stop_sequence": STOPS, "max_length": 20}
        assert (await ask(served, "v1/generate", **body)).status_code == 200
        said = model.asked[-1]
        assert (said.prompt, said.sampling.custom_stopping_strings) == (text, stops)
    await events(served, prompt=PLACED)
    assert model.asked[-1].prompt == placed


async def test_placeholders_stay_where_that_is_wanted(served: Served, model: Scripted):
    body = {"prompt": PLACED, "stop_sequence": STOPS, "replace_instruct_placeholders": False}
    assert (await ask(served, "v1/generate", **body)).status_code == 200
    [said] = model.asked
    assert (said.prompt, said.sampling.custom_stopping_strings) == (PLACED, (*STOPS,))


async def test_the_length_where_nothing_is_said_is_a_setting(
    app: App, served: Served, model: Scripted
):
    await ask(served, "v1/generate", prompt="A")
    await app.configure("kobold_api", max_length=7)
    await ask(served, "v1/generate", prompt="A")
    assert [each.sampling.max_new_tokens for each in model.asked] == [512, 7]
    assert (await ask(served, "v1/config/max_length")).json() == {"value": 7}


async def test_several_texts(served: Served, model: Scripted):
    model.scripts = [" one", " two"]
    answer = await ask(served, "v1/generate", **BODY, n=2)
    assert {each["text"] for each in answer.json()["results"]} == {" one", " two"}


async def test_word_by_word(served: Served):
    said = await events(served, **BODY)
    assert [each["token"] for each in said] == [" upon", " a", " time.", ""]
    assert [each["finish_reason"] for each in said] == [None, None, None, "stop"]
    assert (await events(served, prompt="A", max_length=1))[-1]["finish_reason"] == "length"


async def test_pictures_stand_between_memory_and_prompt(served: Served, model: Scripted):
    model.info = structs.replace(model.info, capabilities=("text", "images"))
    picture = b"\x89PNG and more"
    sent = {"images": [base64.b64encode(picture).decode()], **BODY}
    await ask(served, "v1/generate", memory="Rules.\n", quiet=True, **sent)
    await events(served, **sent)
    image, [first, second] = Image(picture, "image/png"), model.asked
    assert [message.parts for message in first.messages or ()] == [
        (Text("Rules.\n"), image, Text("Once"))
    ]
    assert [message.parts for message in second.messages or ()] == [(image, Text("Once"))]
    assert first.prompt is None
    assert first.template == second.template
    assert "{{ message.content }}" in (first.template or "")
    assert (await ask(served, "extra/version")).json()["vision"] is True


WRONG: list[tuple[str, dict[str, Any], str | None]] = [
    ("v1/generate", {"max_length": 3}, "prompt"),
    ("v1/generate", {"prompt": ["x"], "max_length": 3}, "prompt"),
    ("v1/generate", {"prompt": "x", "max_length": "many"}, "max_length"),
    ("v1/generate", {"prompt": "x", "sampler_order": [9]}, "sampler_order[0]"),
    ("v1/generate", {"prompt": "x", "quiet": True, "images": ["x"]}, "images[0]"),
    ("v1/generate", {"prompt": "x", "quiet": True, "images": ["iVBORw=="]}, "images"),
    ("v1/generate", {"prompt": "x", "quiet": True, "genkey": "k" * 1001}, "genkey"),
    ("extra/generate/stream", {"prompt": "x", "rep_pen": "big"}, "rep_pen"),
    ("extra/tokencount", {"prompt": 3}, "prompt"),
    ("extra/detokenize", {"ids": "x"}, "ids"),
    ("extra/abort", {"genkey": 3}, "genkey"),
]  # fmt: skip
"""Where, what is sent there, and the field that the answer names."""


async def test_what_is_wrong_is_named(served: Served):
    for path, body, param in WRONG:
        answer = await ask(served, path, **body)
        said = answer.json()
        assert (answer.status_code, said["error"]["param"]) == (400, param), (path, body)
        assert said["detail"]["msg"] == said["error"]["message"]


async def test_who_is_there(served: Served):
    for at in ("v1", "latest"):
        assert (await ask(served, f"{at}/info/version")).json() == {"result": "1.2.5"}
        assert (await ask(served, f"{at}/model")).json() == {"result": "scripted"}
        assert (await ask(served, f"{at}/config/max_context_length")).json() == {"value": 4096}
        assert (await ask(served, f"{at}/config/soft_prompt")).json() == {"value": ""}
        assert (await ask(served, f"{at}/config/soft_prompts_list")).json() == {"values": []}
    said = (await ask(served, "extra/version")).json()
    assert (said["result"], said["llm"], said["vision"]) == ("KoboldCpp", True, False)
    assert (await ask(served, "extra/true_max_context_length")).json() == {"value": 4096}


async def test_tokens_and_vectors(app: App, served: Served):
    counted = await ask(served, "extra/tokencount", prompt="ab", special=False)
    assert counted.json() == {"value": 2, "ids": [97, 98]}
    assert (await ask(served, "extra/tokencount", prompt="ab")).json()["value"] == 3
    text = await ask(served, "extra/detokenize", ids=[97, 98])
    assert text.json() == {"result": "ab", "success": True}
    none = await ask(served, "extra/embeddings", input="ab")
    assert (none.status_code, none.json()["error"]["code"]) == (400, "no_embedding_model")
    assert "embedding" in none.json()["detail"]["msg"]
    await app.kernel.slot("embedding").load(Path("scripted"), "scripted")
    said = (await ask(served, "extra/embeddings", input=["abc", ""])).json()
    assert [(row["index"], row["embedding"]) for row in said["data"]] == [
        (0, [3.0, 0.5]), (1, [0.0, 0.5]),
    ]  # fmt: skip
    one = (await ask(served, "extra/embeddings", input="ab")).json()
    assert [row["embedding"] for row in one["data"]] == [[2.0, 0.5]]
    assert (await ask(served, "extra/version")).json()["embeddings"]


async def test_figures(served: Served):
    before = (await ask(served, "extra/perf")).json()
    await ask(served, "v1/generate", **BODY)
    after = (await ask(served, "extra/perf")).json()
    assert (before["total_gens"], before["stop_reason"]) == (0, -1)
    assert (after["total_gens"], after["last_token_count"], after["stop_reason"]) == (1, 3, 1)
    assert (after["queue"], after["idle"]) == (0, 1)
    assert before["last_seed"] == after["last_seed"] == -1, "this engine knows none"


def gone(kept: "weakref.ref[Any]") -> bool:
    gc.collect()
    return kept() is None


async def test_the_figures_keep_no_conversation(app: App, served: Served):
    [programs] = app.kernel.registry.values(PROGRAMS)
    runs = list["weakref.ref[Any]"]()
    programs.runs.watchers.append(lambda run: runs.append(weakref.ref(run)))
    await ask(served, "v1/generate", **BODY)
    await app.until(lambda: gone(runs[0]))


async def test_the_seed_is_told_afterwards():
    model = Counting("Hi.", samplers=("seed", "temperature", "sampler_priority"))
    async with running("kobold_api", "parameters", model=model) as app, serving(app) as served:
        each: tuple[dict[str, Any], ...] = ({}, {"sampler_seed": 7})
        for asked in each:
            await ask(served, "v1/generate", **BODY, **asked)
            said = (await ask(served, "extra/perf")).json()
            assert said["last_seed"] == model.asked[-1].sampling.seed
            assert said["last_seed"] >= 0
    assert model.asked[-1].sampling.seed == 7


async def test_a_model_that_is_not_there():
    async with running("kobold_api") as app, serving(app) as served:
        assert (await ask(served, "v1/model")).json() == {"result": "ReadOnly"}
        for path, body in (("v1/generate", BODY), ("extra/generate/stream", BODY)):
            answer = await ask(served, path, **body)
            assert answer.status_code == 503
            assert "retry-after" not in answer.headers
            assert "No model is loaded" in answer.json()["detail"]["msg"]
        assert (await ask(served, "v1/config/max_context_length")).status_code == 503


class Ended:
    """A generation that a stopping text ended."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.cancel = inner, inner.cancel

    def __aiter__(self) -> Any:
        return aiter(self._inner)

    @property
    def finish(self) -> Finish | None:
        return self._inner.finish and structs.replace(self._inner.finish, cut_by="END")


async def test_stop_texts_are_trimmed_unless_they_are_wanted(
    served: Served, model: Scripted, monkeypatch: pytest.MonkeyPatch
):
    plain = model.generate
    monkeypatch.setattr(model, "generate", lambda request: Ended(plain(request)))
    for trim, text in ((True, " upon a time."), (False, " upon a time.END")):
        answer = await ask(served, "v1/generate", **BODY, trim_stop=trim)
        assert answer.json()["results"][0]["text"] == text
        said = await events(served, **BODY, trim_stop=trim)
        assert "".join(each["token"] for each in said) == text


# --- busy, stop, own -------------------------------------------------------------------------


class Slow:
    """A model that says a word for each release, and who asks it."""

    def __init__(self, served: Served, gate: asyncio.Semaphore) -> None:
        self.served, self.gate = served, gate
        self.tasks: list[asyncio.Task[Any]] = []

    def ask(self, path: str = "v1/generate", key: str = "", **body: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(ask(self.served, path, key, **{**BODY, **body}))
        self.tasks.append(task)
        return task

    async def text(self, genkey: str, key: str = "") -> str:
        answer = await ask(self.served, "extra/generate/check", key, genkey=genkey)
        [result] = answer.json()["results"]
        return result["text"]

    async def until(self, genkey: str, text: str) -> None:
        async with asyncio.timeout(20):
            while await self.text(genkey) != text:
                await asyncio.sleep(0.01)

    async def abort(self, genkey: str, key: str = "") -> bool:
        answer = await ask(self.served, "extra/abort", key, genkey=genkey)
        return answer.json()["success"] == "true"


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    gate = asyncio.Semaphore(0)
    settings = {"api_kit": {"at_once": 2, "queue": 1}}
    model = Scripted(" one two three four.", gate=gate)
    async with (
        running("kobold_api", model=model, settings=settings) as app,
        serving(app) as served,
    ):
        yield Slow(served, gate)


async def runs(slow: Slow, count: int) -> None:
    """Wait until so many are under way or wait."""
    [programs] = slow.served.app.kernel.registry.values(PROGRAMS)
    await slow.served.app.until(lambda: len(programs.runs.live) == count)


async def test_abort_stops_the_callers_own_of_that_key_and_no_other(slow: Slow):
    mine, other = slow.ask(genkey="mine"), slow.ask(genkey="other")
    await runs(slow, 2)
    slow.gate.release()
    slow.gate.release()
    await slow.until("mine", " one")
    assert await slow.text("nobody") == ""
    assert await slow.text("mine", key=slow.served.key) == "", "another caller's"
    assert not await slow.abort("nobody")
    assert not await slow.abort("")
    assert not await slow.abort("mine", key=slow.served.key), "another caller's"
    assert await slow.abort("mine")
    [result] = (await mine).json()["results"]
    assert result["text"] == " one"
    assert await slow.text("mine") == " one", "what it came to can still be asked for"
    for _ in range(10):
        slow.gate.release()
    [result] = (await other).json()["results"]
    assert result["text"] == " one two three four."


async def test_busy_is_503_where_the_queue_is_full(slow: Slow):
    live = [slow.ask(genkey=f"{n}") for n in range(3)]
    await runs(slow, 3)
    for path in ("v1/generate", "latest/generate", "extra/generate/stream"):
        answer = await ask(slow.served, path, **BODY)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["error"]["code"] == "queue_full"
    perf = (await ask(slow.served, "extra/perf")).json()
    assert (perf["queue"], perf["idle"]) == (1, 0)
    for _ in range(20):
        slow.gate.release()
    assert {(await task).status_code for task in live} == {200}


async def test_abort_while_it_waits_in_the_queue(slow: Slow):
    first = [slow.ask(genkey="a"), slow.ask(genkey="b")]
    await runs(slow, 2)
    whole = slow.ask(genkey="c")
    await runs(slow, 3)
    assert await slow.abort("c")
    assert (await whole).json() == {
        "results": [
            {"text": "", "finish_reason": "stop", "prompt_tokens": 0, "completion_tokens": 0}
        ]
    }
    stream = slow.ask("extra/generate/stream", genkey="d")
    await runs(slow, 3)
    assert await slow.abort("d")
    assert '"finish_reason":"stop"' in (await stream).text
    for _ in range(20):
        slow.gate.release()
    for task in first:
        assert (await task).status_code == 200


@pytest.mark.parametrize("path", ["v1/generate", "extra/generate/stream"])
async def test_abort_while_a_model_is_woken_for_the_marks_of_its_turns(
    app: App, served: Served, model: Scripted, path: str
):
    model.info = structs.replace(model.info, chat_template=CHATML)
    awake, slow = asyncio.Event(), Slow(served, asyncio.Semaphore(0))
    await slow.ask(genkey="mine")
    slot = app.kernel.slot()
    await slot.unload()
    woken = asyncio.Event()

    async def wake() -> None:
        woken.set()
        await awake.wait()
        slot.wake = None
        await slot.reload()

    slot.wake = wake
    told = slow.ask(path, genkey="mine", prompt=PLACED)
    await woken.wait()
    assert await slow.text("mine") == "", "not what was said before"
    assert not await slow.abort("another")
    assert await slow.abort("mine")
    answer = await asyncio.wait_for(told, 20)
    assert (answer.status_code, " upon" in answer.text) == (200, False)
    assert await slow.text("mine") == "", "it has said nothing"
    awake.set()
    await slot.reload()
    assert len(model.asked) == 1


async def test_a_request_that_is_refused_leaves_what_was_said_last(slow: Slow):
    for _ in range(10):
        slow.gate.release()
    await slow.ask(genkey="mine")
    assert (await slow.ask(genkey="mine", images=["x"])).status_code == 400
    assert await slow.text("mine") == " one two three four."
    await slow.served.app.kernel.slot().unload()
    assert (await slow.ask(genkey="mine")).status_code == 503
    assert await slow.text("mine") == " one two three four."


async def test_who_leaves_frees_the_engine(slow: Slow):
    for path in ("v1/generate", "extra/generate/stream"):
        async with httpx.AsyncClient(timeout=0.3) as web:
            with pytest.raises(httpx.ReadTimeout):
                await web.post(f"{slow.served.http}/api/{path}", json=BODY)
        await runs(slow, 0)


async def test_a_failure_after_the_first_word_is_an_event():
    gate = asyncio.Semaphore(1)
    model = Scripted(" one two.", gate=gate)
    async with (
        running("kobold_api", model=model) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
        web.stream("POST", f"{served.http}/api/extra/generate/stream", json=BODY) as answer,
    ):
        lines = answer.aiter_lines()
        async for line in lines:
            if " one" in line:
                break
        model.die("The engine stopped.")
        rest = [line async for line in lines if line]
        assert rest[-2] == "event: message"
        assert "engine stopped" in json.loads(rest[-1].removeprefix("data: "))["error"]["message"]
