"""llama.cpp on a real, tiny model: stories260K."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Message, Request, Sampling, Text, Worker, WorkerError
from kernel.contract import Output
from tests.engines.alike import PENALTIES, test_seeds_repeat_and_differ  # noqa: F401
from tests.engines.larger import make
from tests.engines.real import AT_ONCE, STORIES, STORY, ask, engine, late_words

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
MODEL = STORIES / "stories260K.gguf"


@pytest.fixture(scope="module", params=["xllamacpp", "xllamacpp-native"], autouse=True)
def environment(request: pytest.FixtureRequest, environments_dir: Path) -> Path:
    """The prebuilt engine's, and that of the native one."""
    return environments_dir / request.param


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(environment: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environment) as worker:
        await worker.load(MODEL, {})
        yield worker


async def test_what_it_says_of_the_model(environment: Path):
    async with engine("llama_cpp", environment) as worker:
        seen: list[float] = []
        info = await worker.load(
            MODEL, {"context_length": 512}, lambda share, note: seen.append(share)
        )
        assert (info.name, info.loader) == ("stories260K", "llama.cpp")
        assert (info.context_length, info.vocabulary_size) == (512, 512)
        assert info.special_tokens == {"bos": 1, "eos": 2, "unknown": 0}
        assert {"text", "logprobs", "grammar", "batch"} <= set(info.capabilities)
        assert seen == sorted(seen)
        with pytest.raises(WorkerError, match="900 tokens, and the context of this model 512"):
            await ask(worker, token_ids=(403,) * 900)


async def test_a_story_with_its_figures(worker: Worker):
    text, finish, deltas = await ask(worker)
    assert text == STORY
    assert finish.reason == "length"
    assert (finish.usage.prompt, finish.usage.completion) == (5, 24)
    assert finish.timings.completion > 0
    assert len(deltas) > 20, "it streams"
    again = await ask(worker)
    assert again[1].usage.cached == 4, "a prompt that was read is not read again"


async def test_a_stop_string_across_tokens(worker: Worker):
    text, finish, _ = await ask(worker, custom_stopping_strings=("e girl", "zzz"))
    assert text == ", there was a littl"
    assert (finish.reason, finish.cut_by) == ("stop", "e girl")
    assert finish.usage.completion < 10


async def test_a_token_that_no_reply_shows_is_news_all_the_same(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    """Else an engine that writes such tokens only would be stopped as silent."""
    news: list[Output] = []
    kind: Any = sys.modules["kernel.generation"].Generation  # It hears what engines tell.
    hear = kind.hear

    def noted(reply: Any, output: Output) -> None:
        news.append(output)
        hear(reply, output)

    monkeypatch.setattr(kind, "hear", noted)
    text, finish, _ = await ask(worker, ban_eos_token=True, logit_bias={1: 100.0})
    assert (text, finish.usage.completion) == ("", 24)
    assert len(news) >= 24


async def test_logprobs(worker: Worker):
    text, _, deltas = await ask(worker, logprobs=3)
    tokens = [token for delta in deltas for token in delta.tokens]
    assert b"".join(token.bytes for token in tokens).decode() == text
    first = tokens[0]
    assert first.id == 432
    assert first.logprob == pytest.approx(-0.0318, abs=1e-3)
    assert len(first.top) == 3
    assert first.top[0] == (b",", pytest.approx(first.logprob))
    _, _, deltas = await ask(worker, logprobs=0)
    assert deltas[0].tokens[0].top == ()


async def test_a_chat_and_its_continuation(worker: Worker):
    messages = (Message("user", (Text("Tell me a story."),)),)
    text, finish, _ = await ask(worker, messages=messages)
    assert text
    assert finish.usage.prompt > 5
    begun = (*messages, Message("assistant", (Text("Once upon a time"),)))
    text, _, _ = await ask(worker, messages=begun, continue_=True)
    assert text.startswith(", there was a")
    built = [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
    assert await worker.call("template", messages=built) == "User: Hi\nAssistant:"


async def test_a_thought_that_the_template_began_is_said_first(worker: Worker):
    messages = (Message("user", (Text("Once"),)),)
    template = "{{ messages[0].content }}{% if add_generation_prompt %}<think>\n{% endif %}"
    told = {"messages": messages, "template": template, "max_new_tokens": 5}
    text, finish, _ = await ask(worker, **told)
    assert text.startswith("<think>\n")
    assert text.count("<think>") == 1
    assert finish.usage.completion == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *PENALTIES,
        ("dry_multiplier", 5.0),
        ("xtc_probability", 1.0),
        ("mirostat_mode", 2),
        ("temperature", 1.0),
        ("dynamic_temperature", True),
        ("adaptive_target", 0.1),
    ],
)
async def test_a_sampler_changes_the_words(worker: Worker, field: str, value: Any):
    more = {"temperature": 0.9, "seed": 3, "xtc_threshold": 0.05, "dynatemp_high": 3.0}
    more |= {"dry_allowed_length": 1, "max_new_tokens": 60, "top_k": 0}
    if field in ("logit_bias", "custom_token_bans") or field.endswith("penalty"):
        more["temperature"] = 0.0
    plain, _, _ = await ask(worker, **more)
    changed, _, _ = await ask(worker, **{**more, field: value})
    assert changed != plain


@pytest.mark.parametrize(
    ("field", "value"), [("top_k", 1), ("top_p", 0.01), ("min_p", 0.99), ("top_n_sigma", 0.01)]
)
async def test_a_filter_leaves_only_the_best(worker: Worker, field: str, value: Any):
    text, _, _ = await ask(worker, temperature=1.0, seed=3, **{field: value})
    assert text == STORY


async def test_do_sample_off_is_greedy_and_order_matters(worker: Worker):
    assert (await ask(worker, temperature=2.0, do_sample=False))[0] == STORY
    hot = {"temperature": 5.0, "top_p": 0.2, "seed": 1}
    first, _, _ = await ask(worker, **hot, sampler_priority=("temperature", "top_p"))
    last, _, _ = await ask(worker, **hot, temperature_last=True)
    assert first != last


async def test_without_sequence_breakers_a_repetition_ends_nowhere(worker: Worker):
    none: dict[str, Any] = {"dry_sequence_breakers": ()}
    assert (await ask(worker, **none))[0] == STORY
    dry: dict[str, Any] = {"dry_multiplier": 5.0, "dry_allowed_length": 1, "max_new_tokens": 100}
    every: dict[str, Any] = {"dry_sequence_breakers": tuple(" abcdefghijklmnopqrstuvwxyz.,")}
    assert (await ask(worker, **dry, **none))[0] != (await ask(worker, **dry, **every))[0]


async def test_a_grammar(worker: Worker):
    text, finish, _ = await ask(worker, grammar='root ::= "yes" | "no"')
    assert text in ("yes", "no")
    assert finish.reason == "stop"
    for bad in ("root ::= (", "root ::= " + "(" * 20_000):
        with pytest.raises(WorkerError, match="grammar"):
            await ask(worker, grammar=bad)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"penalty_alpha": 0.5}, "stories260K in llama.cpp cannot do this: penalty_alpha"),
        ({"token_ids": (1, 5000)}, "invalid tokens"),
        ({"token_ids": ()}, "empty"),
        ({"custom_stopping_strings": ("x",) * 100_000}, "Expected .* length <= 1000"),
        ({"top_p": float("nan")}, "Expected `float`"),
        ({"prompt": "x " * 3000}, "6,002 tokens"),
        ({"prompt": "x" * 1_000_000}, "1,000,000 characters"),
        ({"adapters": (("a", 1.0),)}, "lora"),
    ],
)
async def test_what_it_cannot_do_is_a_sentence(
    worker: Worker, request_: dict[str, Any], words: str
):
    with pytest.raises(WorkerError, match=words) as caught:
        await ask(worker, **request_)
    if not words.startswith("Expected"):  # of which the kernel says what was wrong
        assert caught.value.refused in ("", "penalty_alpha", "lora", "prompt")
    assert (await ask(worker))[0] == STORY


async def test_requests_run_together_with_the_same_words(worker: Worker):
    replies = await asyncio.gather(*(ask(worker) for _ in range(8)))
    assert {text for text, _, _ in replies} == {STORY}


async def test_a_cancel_frees_the_engine_at_once(environment: Path, tmp_path: Path):
    """In the midst of a reply that would take it ten times as long as it may."""
    async with engine("llama_cpp", environment) as worker:
        await worker.load(make(tmp_path, "15m"), {"context_length": 10_000})
        sampling = Sampling(max_new_tokens=9_900, ban_eos_token=True, temperature=0.0)
        reply = worker.generate(Request(prompt="Once", sampling=sampling))
        for _ in range(5):
            await anext(reply)
        begun = time.monotonic()
        late = await late_words(reply, worker.call("tokenize", text="x"))
        assert time.monotonic() - begun < AT_ONCE
        assert late < 100, "the prebuilt engine hands words on from a thread of its own"
        assert reply.finish
        assert reply.finish.reason == "cancelled"
        assert 5 <= reply.finish.usage.completion < 5_000
        assert (await ask(worker, "Once"))[1].reason == "length", "it is free for the next one"


async def test_tokens_there_and_back(worker: Worker):
    ids = await worker.call("tokenize", text="Once upon")
    assert ids == [1, 403, 407]
    assert await worker.call("tokenize", text="<s>Once upon") == ids, "one beginning is enough"
    assert await worker.call("detokenize", token_ids=ids[1:]) == " Once upon"
    with pytest.raises(WorkerError, match="no call"):
        await worker.call("dance")


async def test_the_prebuilt_engine_says_who_scores_texts(
    worker: Worker, request: pytest.FixtureRequest
):
    if "native" in request.node.name:
        assert (await worker.call("scores", text="Once"))["logprobs"][0] is None
        return
    with pytest.raises(WorkerError, match="last token alone; the native one can do it: build"):
        await worker.call("scores", text="Once")


async def test_no_prompt_goes_to_a_proxy(environment: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with engine("llama_cpp", environment) as worker:
        await worker.load(MODEL, {})
        assert await worker.call("tokenize", text="Once upon") == [1, 403, 407]


async def test_a_malformed_file_is_refused_and_the_next_one_loads(
    environment: Path, tmp_path: Path
):
    data = MODEL.read_bytes()
    bad = tmp_path / "cut.gguf"
    bad.write_bytes(data[: len(data) // 2])
    async with engine("llama_cpp", environment) as worker:
        with pytest.raises(WorkerError, match=r"cut\.gguf cannot be loaded"):
            await worker.load(bad, {})
        await worker.load(MODEL, {})
        assert (await ask(worker))[0] == STORY
