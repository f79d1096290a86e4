"""The exact calls of SillyTavern 1.19.0, type by type, with all the fields it sends at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from extensions.api_kit.api import PROGRAMS
from kernel.testing import App, Scripted, running
from tests.sockets import Served, serving

COMMON: dict[str, Any] = {
    "prompt": "Ada: Hi\nBot:", "model": "scripted", "max_new_tokens": 20, "max_tokens": 20,
    "logprobs": 10, "temperature": 1, "top_p": 1, "typical_p": 1, "typical": 1,
    "sampler_seed": -1, "min_p": 0.1, "repetition_penalty": 1, "frequency_penalty": 0,
    "presence_penalty": 0, "top_k": 0, "skew": 0, "min_length": 0, "min_tokens": 0,
    "num_beams": 1, "length_penalty": 1, "early_stopping": False, "add_bos_token": True,
    "dynamic_temperature": False, "dynatemp_low": 1, "dynatemp_high": 1, "dynatemp_range": 0,
    "dynatemp_exponent": 1, "smoothing_factor": 0, "smoothing_curve": 1, "dry_allowed_length": 2,
    "dry_multiplier": 0, "dry_base": 1.75, "dry_sequence_breakers": '["\\n", ":", "\\"", "*"]',
    "dry_penalty_last_n": 0, "max_tokens_second": 0, "stopping_strings": ["\nAda:"],
    "stop": ["\nAda:"], "truncation_length": 8192, "ban_eos_token": False,
    "skip_special_tokens": True, "include_reasoning": True, "top_a": 0, "tfs": 1,
    "epsilon_cutoff": 0, "eta_cutoff": 0, "mirostat_mode": 0, "mirostat_tau": 5,
    "mirostat_eta": 0.1, "custom_token_bans": "", "banned_strings": [],
    "api_server": "http://127.0.0.1:7860", "xtc_threshold": 0.1, "xtc_probability": 0,
    "nsigma": 0, "top_n_sigma": 0, "min_keep": 0, "adaptive_target": -0.01,
    "adaptive_decay": 0.9, "rep_pen": 1, "rep_pen_range": 0, "repetition_penalty_range": 0,
    "encoder_repetition_penalty": 1, "no_repeat_ngram_size": 0, "penalty_alpha": 0,
    "temperature_last": True, "do_sample": True, "seed": -1, "guidance_scale": 1,
    "negative_prompt": "", "grammar_string": "", "repeat_penalty": 1, "repeat_last_n": 0,
    "n_predict": 20, "num_predict": 20, "num_ctx": 8192, "mirostat": 0, "ignore_eos": False,
    "n_probs": 10, "rep_pen_slope": 1, "logit_bias": {}, "stream": False,
}  # fmt: skip
"""What goes to every type, with the values of its neutral preset."""
OOBA = {
    **COMMON, "api_type": "ooba",
    "sampler_priority": ["repetition_penalty", "temperature", "top_k", "typical_p", "min_p"],
}  # fmt: skip
LLAMACPP = {
    **COMMON, "api_type": "llamacpp", "grammar": "", "cache_prompt": True, "n": 1,
    "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "tfs_z", "typical_p", "xtc",
                 "top_p", "min_p", "adaptive_p", "temperature"],
    "logit_bias": [], "dry_sequence_breakers": ["\n", ":", '"', "*"],
}  # fmt: skip
KOBOLDCPP = {
    **COMMON, "api_type": "koboldcpp", "grammar": "", "grammar_retain_state": False,
    "trim_stop": True, "sampler_order": [6, 0, 1, 3, 4, 2, 5],
    "dry_sequence_breakers": ["\n", ":", '"', "*"],
}  # fmt: skip
CLASSIC: dict[str, Any] = {
    "prompt": "Ada: Hi\nBot:", "gui_settings": False, "sampler_order": [6, 0, 1, 2, 3, 4, 5],
    "max_context_length": 2048, "max_length": 20, "rep_pen": 1.1, "rep_pen_range": 600,
    "rep_pen_slope": 0, "temperature": 0.5, "tfs": 1, "top_a": 0, "top_k": 0, "top_p": 0.9,
    "min_p": 0, "typical": 1, "s1": 6, "s2": 0, "s3": 1, "s4": 2, "s5": 3, "s6": 4, "s7": 5,
    "use_world_info": False, "singleline": False, "stop_sequence": ["\nAda:"],
    "streaming": True, "can_abort": True, "mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1,
    "use_default_badwordsids": False, "grammar": "", "sampler_seed": 5,
    "api_server": "http://127.0.0.1:7860/api",
}  # fmt: skip
"""What KoboldAI Classic sends, after SillyTavern's server has filled it in."""


class Counting(Scripted):
    """Has a token for each letter, and knows how likely its words are."""

    async def call(self, name: str, **data: Any) -> Any:
        if name == "tokenize":
            return [ord(each) for each in data["text"]]
        return await super().call(name, **data)


@pytest.fixture
def model() -> Scripted:
    return Counting(" Hello there.", logprobs=(-0.5,), capabilities=("text", "logprobs"))


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    apis = ("openai_api", "kobold_api", "legacy_api", "llama_server_api")
    async with running(*apis, "instruct", "models", model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def ask(served: Served, path: str, body: Any = None) -> Any:
    """What an address answers; SillyTavern sends no Origin, and reads errors of some names."""
    async with httpx.AsyncClient(timeout=60) as web:
        method = "GET" if body is None else "POST"
        answer = await web.request(method, f"{served.http}{path}", json=body)
    assert answer.status_code == 200, answer.text
    assert "x-powered-by" not in answer.headers
    return answer.json()


async def events(served: Served, path: str, body: Any) -> list[Any]:
    """The events of a stream. Any that carries one of these is shown as an error, and ends it."""
    async with httpx.AsyncClient(timeout=60) as web:
        answer = await web.post(f"{served.http}{path}", json={**body, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream", answer.text
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    found = [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
    assert not {"error", "message", "detail"} & {key for event in found for key in event}
    return found


async def connected(served: Served) -> None:
    listed = await ask(served, "/v1/models")
    assert isinstance(listed["data"], list)
    assert listed["data"][0]["id"] == "scripted"


async def test_ooba(served: Served):
    await connected(served)
    assert (await ask(served, "/v1/internal/model/info"))["model_name"] == "scripted"
    counted = await ask(served, "/v1/internal/encode", {"text": "abc"})
    assert (counted["length"], len(counted["tokens"])) == (3, 3)
    said = await ask(served, "/v1/completions", OOBA)
    assert said["choices"][0]["text"] == " Hello there."
    chunks = await events(served, "/v1/completions", OOBA)
    assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == " Hello there."
    likely = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0].get("logprobs")]
    assert likely[0]["top_logprobs"][0] == {" Hello": -0.5}


async def test_llamacpp(served: Served):
    await connected(served)
    for path in ("/props", "/props?model=scripted"):
        props = await ask(served, path)
        assert isinstance(props["chat_template"], str)
        assert props["default_generation_settings"]["n_ctx"] == 4096
    counted = await ask(served, "/tokenize", {"model": "scripted", "content": "abc"})
    assert counted["tokens"] == [97, 98, 99]
    said = await ask(served, "/completion", LLAMACPP)
    assert said["content"] == " Hello there."
    chunks = await events(served, "/completion", LLAMACPP)
    assert "".join(chunk["content"] for chunk in chunks) == " Hello there."
    top = chunks[0]["completion_probabilities"][0]["top_logprobs"][0]
    assert (top["token"], top["logprob"]) == (" Hello", -0.5)
    [slot] = await ask(served, "/slots")
    assert slot["id"] == 0
    async with httpx.AsyncClient(timeout=60) as web:
        saved = await web.post(f"{served.http}/slots/0?action=save", json={"filename": "a.bin"})
        assert saved.json()["error"]["message"], "it is told why not"


async def test_koboldcpp(served: Served):
    await connected(served)
    assert isinstance((await ask(served, "/props"))["chat_template"], str)
    counted = await ask(served, "/api/extra/tokencount", {"prompt": "abc", "special": False})
    assert counted == {"value": 3, "ids": [97, 98, 99]}
    said = await ask(served, "/v1/completions", KOBOLDCPP)
    assert said["choices"][0]["text"] == " Hello there."
    chunks = await events(served, "/v1/completions", KOBOLDCPP)
    assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == " Hello there."
    assert (await ask(served, "/api/extra/abort", {}))["success"] == "false", "nothing was left"


async def test_kobold_classic(served: Served):
    assert (await ask(served, "/api/v1/info/version"))["result"] == "1.2.5"
    extra = await ask(served, "/api/extra/version")
    assert (extra["result"], extra["version"] >= "1.44") == ("KoboldCpp", True)
    assert await ask(served, "/api/v1/model") == {"result": "scripted"}
    said = await ask(served, "/api/v1/generate", {**CLASSIC, "streaming": False})
    assert said["results"][0]["text"] == " Hello there."
    chunks = await events(served, "/api/extra/generate/stream", CLASSIC)
    assert "".join(chunk["token"] for chunk in chunks) == " Hello there."
    counted = await ask(served, "/api/extra/tokencount", {"prompt": "abc"})
    assert counted["value"] == 3
    await ask(served, "/api/extra/abort", {})


async def test_it_asks_again_while_a_server_of_kobold_is_busy():
    gate = asyncio.Semaphore(0)
    settings = {"api_kit": {"at_once": 1, "queue": 0}}
    model = Scripted(" Hello there.", gate=gate)
    async with (
        running("kobold_api", model=model, settings=settings) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        first = asyncio.create_task(ask(served, "/api/v1/generate", CLASSIC))
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: bool(programs.runs.live))
        address = f"{served.http}/api/v1/generate"
        assert (await web.post(address, json=CLASSIC)).status_code == 503
        for _ in range(4):
            gate.release()
        await first
        for _ in range(4):
            gate.release()
        answer = await web.post(address, json=CLASSIC)
        assert answer.json()["results"][0]["text"] == " Hello there."
