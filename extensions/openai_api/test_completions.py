"""Plain completions, as programs see them."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from kernel.api import Finish
from kernel.testing import App, running
from tests.programs import Knowing, events, fault, post, said
from tests.sockets import Served, serving

PATH = "/v1/completions"


@pytest.fixture
def model() -> Knowing:
    return Knowing("One two.", logprobs=(-0.25, -0.5))


@pytest.fixture
async def app(model: Knowing) -> AsyncIterator[App]:
    async with running("openai_api", "instruct", model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def test_a_text_is_continued(served: Served, model: Knowing):
    answer = await said(served, PATH, prompt="Count:", max_tokens=9, stop=["END"])
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [
        {"index": 0, "text": "One two.", "finish_reason": "stop", "logprobs": None}
    ]
    assert answer["usage"]["total_tokens"] == 12
    [request] = model.asked
    assert (request.prompt, request.messages) == ("Count:", None)
    assert request.sampling.max_new_tokens == 9
    assert request.sampling.custom_stopping_strings == ("END",)
    await said(served, PATH, prompt="Count:")
    await said(served, PATH, prompt="Count:", n_predict=-1)
    limits = [request.sampling.max_new_tokens for request in model.asked[1:]]
    assert limits[0] == 512  # Where nothing is said.
    assert not isinstance(limits[1], int)


async def test_several_prompts_and_several_texts_of_each(served: Served, model: Knowing):
    answer = await said(served, PATH, prompt=["A", "B"], n=2, best_of=2, seed=5)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    asked = sorted((request.prompt, request.sampling.seed) for request in model.asked)
    assert asked == [("A", 5), ("A", 6), ("B", 5), ("B", 6)]
    assert answer["usage"]["prompt_tokens"] == 20
    assert answer["usage"]["completion_tokens"] == 8
    model.asked.clear()
    await said(served, PATH, prompt=[1, 2])
    await said(served, PATH, prompt=[[1], [2]])
    assert sorted(request.token_ids or () for request in model.asked) == [(1,), (1, 2), (2,)]
    assert all(request.prompt is None for request in model.asked)


async def test_a_stream_of_text(served: Served):
    chunks = await events(
        served, PATH, prompt="Count:", logprobs=1, stream_options={"include_usage": True}
    )
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    assert text == "One two."
    assert chunks[0]["choices"][0]["logprobs"]["top_logprobs"][0] == {"One": -0.25}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 12)
    assert not {"message", "detail", "error"} & {key for chunk in chunks for key in chunk}


async def test_the_prompt_is_echoed(served: Served, model: Knowing):
    assert (await said(served, PATH, prompt="Count: ", echo=True))["choices"][0]["text"] == (
        "Count: One two."
    )
    chunks = await events(served, PATH, prompt=model.ids("a b"), echo=True, n=2)
    for index in (0, 1):
        mine = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
        assert "".join(choice["text"] for choice in mine) == "a bOne two."


async def test_thoughts_are_told_apart(app: App, served: Served, model: Knowing):
    await app.toggle("reasoning", on=True)
    model.scripts = ["<think>Well now.</think>Yes."]
    [choice] = (await said(served, PATH, prompt="Is it?"))["choices"]
    assert (choice["text"], choice["reasoning"]) == ("Yes.", "Well now.")
    chunks = await events(served, PATH, prompt="Is it?")
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in choices) == "Yes."
    assert "".join(choice.get("reasoning", "") for choice in choices) == "Well now."


async def test_likelihoods(served: Served):
    answer = await said(served, PATH, prompt="Count:", logprobs=2)
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["One", " two."],
        "token_logprobs": [-0.25, -0.5],
        "top_logprobs": [{"One": -0.25}, {" two.": -0.5}],
        "text_offset": [0, 3],
    }


async def test_an_echo_can_be_scored(served: Served, model: Knowing):
    problem = await fault(served, PATH, prompt="a b", echo=True, logprobs=1, max_tokens=0)
    assert (problem["status"], problem["param"]) == (400, "echo")
    model.scores = True
    answer = await said(served, PATH, prompt="a b", echo=True, logprobs=1, max_tokens=0)
    [choice] = answer["choices"]
    assert not model.asked
    assert (choice["text"], choice["finish_reason"]) == ("a b", "length")
    assert choice["logprobs"] == {
        "tokens": ["", "a", " b"],
        "token_logprobs": [None, -1.0, -1.0],
        "top_logprobs": [None, {"a": -1.0}, {"a": -0.5, " b": -1.0}],
        "text_offset": [0, 0, 1],
    }
    assert answer["usage"]["completion_tokens"] == 0
    both = await said(served, PATH, prompt="a b", echo=True, logprobs=1)
    assert both["choices"][0]["text"] == "a bOne two."
    assert both["choices"][0]["logprobs"]["text_offset"] == [0, 0, 1, 3, 6]


async def test_filling_in(served: Served, model: Knowing):
    problem = await fault(served, PATH, prompt="def f():", suffix="return 1")
    assert (problem["status"], problem["param"]) == (400, "suffix")
    assert "scripted" in problem["message"]
    model.fills = True
    answer = await said(served, PATH, prompt="def f():", suffix="return 1", echo=True)
    assert answer["choices"][0]["text"] == "def f():One two."
    assert [request.prompt for request in model.asked] == [
        "<|fim_prefix|>def f():<|fim_suffix|>return 1<|fim_middle|>"
    ]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt[0]"),
    ({"prompt": ["a", 1]}, "prompt"),
    ({"prompt": [5000]}, "prompt"),
    ({"prompt": [-1]}, "prompt[0]"),
    ({"prompt": {"text": "a"}}, "prompt"),
    ({"prompt": ["a"] * 200, "n": 2}, "prompt"),
    ({"prompt": "a", "best_of": 4}, "best_of"),
    ({"prompt": "a", "logprobs": 50}, "logprobs"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ({"prompt": "a", "character": "Assistant"}, "character"),
    ({"prompt": "a", "messages": [{"role": "user", "content": "x"}]}, "messages"),
    ({"prompt": ["a"], "suffix": "b"}, "suffix"),
]


async def test_what_is_wrong_is_named(served: Served):
    for body, param in WRONG:
        problem = await fault(served, PATH, **body)
        assert (problem["status"], problem["param"]) == (400, param)


SILLYTAVERN: dict[str, Any] = {
    "prompt": "You: Hi\nBot:", "model": "any", "max_new_tokens": 200, "max_tokens": 200,
    "logprobs": 10, "temperature": 0.7, "top_p": 0.9, "typical_p": 1, "typical": 1,
    "sampler_seed": -1, "min_p": 0, "repetition_penalty": 1, "frequency_penalty": 0,
    "presence_penalty": 0, "top_k": 40, "skew": 0, "min_length": 0, "min_tokens": 0,
    "num_beams": 1, "length_penalty": 1, "early_stopping": False, "add_bos_token": True,
    "dynamic_temperature": False, "dynatemp_low": 0, "dynatemp_high": 0, "dynatemp_range": 0,
    "dynatemp_exponent": 1, "smoothing_factor": 0, "smoothing_curve": 1, "dry_allowed_length": 2,
    "dry_multiplier": 0, "dry_base": 1.75, "dry_sequence_breakers": '["\\n", ":", "*"]',
    "dry_penalty_last_n": 0, "max_tokens_second": 0, "sampler_priority": ["top_k", "top_p"],
    "stopping_strings": ["\nYou:"], "stop": ["\nYou:"], "truncation_length": 4096,
    "ban_eos_token": False, "skip_special_tokens": True, "include_reasoning": True, "top_a": 0,
    "tfs": 1, "epsilon_cutoff": 0, "eta_cutoff": 0, "mirostat_mode": 0, "mirostat_tau": 5,
    "mirostat_eta": 0.1, "custom_token_bans": "", "banned_strings": [], "api_type": "ooba",
    "api_server": "http://127.0.0.1:5000", "xtc_threshold": 0.1, "xtc_probability": 0,
    "nsigma": 0, "top_n_sigma": 0, "min_keep": 0, "adaptive_target": -0.01,
    "adaptive_decay": 0.9, "rep_pen": 1, "rep_pen_range": 0, "repetition_penalty_range": 0,
    "encoder_repetition_penalty": 1, "no_repeat_ngram_size": 0, "penalty_alpha": 0,
    "temperature_last": True, "do_sample": True, "seed": -1, "guidance_scale": 1,
    "negative_prompt": "", "grammar_string": "", "repeat_penalty": 1, "repeat_last_n": 0,
    "n_predict": 200, "num_predict": 200, "num_ctx": 4096, "mirostat": 0, "ignore_eos": False,
    "n_probs": 10, "rep_pen_slope": 1, "logit_bias": {}, "stream": False,
}  # fmt: skip
"""All that SillyTavern 1.19 sends to its type ooba, at its neutral values."""


async def test_the_whole_body_of_sillytavern(served: Served, model: Knowing):
    answer = await post(served, PATH, **SILLYTAVERN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["text"] == "One two."
    chunks = await events(served, PATH, **{**SILLYTAVERN, "stream": None})
    first = chunks[0]["choices"][0]
    assert (first["text"], first["index"]) == ("One", 0)
    assert first["logprobs"]["top_logprobs"][0] == {"One": -0.25}
    sampling = model.asked[0].sampling
    assert (sampling.max_new_tokens, sampling.temperature, sampling.top_k) == (200, 0.7, 40)
    assert sampling.custom_stopping_strings == ("\nYou:",)


async def test_a_continuation_keeps_to_a_schema(served: Served, model: Knowing):
    for field in ("grammar_string", "grammar"):
        await said(served, PATH, prompt="a", **{field: 'root ::= "x"'})
    await said(served, PATH, prompt="a", json_schema={"type": "object"})
    grammars = [request.grammar for request in model.asked]
    assert grammars == ['root ::= "x"', 'root ::= "x"', '{"type":"object"}']


class Failing:
    """A reply that is none: the engine says no before its first word."""

    def __init__(self, says: str, refused: str | None) -> None:
        self.finish = Finish("error", error=says, refused=refused)

    def __aiter__(self) -> "Failing":
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration

    def cancel(self) -> None:
        """It has ended."""


async def test_what_an_engine_refuses_is_no_failure_of_the_server(
    served: Served, model: Knowing, monkeypatch: pytest.MonkeyPatch
):
    for says, refused, status, code, param in (
        ("The grammar failed in the memory.", "", 400, "engine_refused", None),
        ("It cannot go on with tool_choice.", None, 500, "engine_failed", None),
        ("No.", "tool_choice", 400, "unsupported_value", "tool_choice"),
        ("No.", "tfs", 400, "unsupported_parameter", "tfs"),
        ("No.", "processors", 400, "unsupported_parameter", None),
        ("Too much.", "prompt", 400, "context_length_exceeded", "prompt"),
    ):
        failing = partial(Failing, says, refused)
        monkeypatch.setattr(model, "generate", lambda request, failing=failing: failing())
        for stream in (True, False):
            answer = await post(served, PATH, prompt="a", stream=stream)
            assert answer.status_code == status, answer.text
            error = answer.json()["error"]
            said = error["message"].removeprefix("prompt is too long: ")
            assert (error["code"], error["param"], said) == (code, param, says)
            assert answer.headers["x-should-retry"] == "false"
    words = "word " * 5000
    for path, field, long in (
        (PATH, "prompt", words),
        ("/v1/chat/completions", "messages", [{"role": "user", "content": words}]),
        ("/v1/responses", "input", words),
    ):
        too_long = await fault(served, path, **{field: long})
        assert (too_long["code"], too_long["param"]) == ("context_length_exceeded", field)
        assert too_long["message"].startswith("prompt is too long: ")
