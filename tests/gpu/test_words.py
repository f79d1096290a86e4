"""The engine of transformers says on a graphics card what it says on a processor."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.contract import Message, Request, Sampling, Text
from kernel.worker import Worker
from tests.engines.real import FAULTY, ROOT, STORIES, STORY, ask

pytestmark = [pytest.mark.gpu, pytest.mark.asyncio(loop_scope="module")]
GUIDE, STORY_MODEL = ROOT / "models" / "guide", STORIES / "hf"
QUESTION = (Message("user", (Text("What is a GGUF file?"),)),)
ASKED = {GUIDE: {"messages": QUESTION}, STORY_MODEL: {"prompt": "Once upon a time"}}
FIELDS: dict[str, Any] = {
    "logit_bias": {432: -100.0, -9999: 1.0},
    "custom_token_bans": (432,),
    "ban_eos_token": True,
    "min_length": 350,
    "repetition_penalty": 3.0,
    "frequency_penalty": 2.0,
    "presence_penalty": 2.0,
    "no_repeat_ngram_size": 1,
    "encoder_repetition_penalty": 1.5,
    "dry_multiplier": 2.0,
    "guidance_scale": 3.0,
    "extra": {"banned_strings": ("girl", "park")},
}
FILTERS: dict[str, Any] = {
    "top_k": 5,
    "top_p": 0.5,
    "min_p": 0.3,
    "top_n_sigma": 1.0,
    "epsilon_cutoff": 9.0,
    "eta_cutoff": 20.0,
    "typical_p": 0.2,
    "dynamic_temperature": True,
    "smoothing_factor": 0.5,
    "xtc_probability": 0.5,
    "tfs": 0.6,
    "top_a": 0.3,
    "mirostat_mode": 2,
    "adaptive_target": 0.3,
}


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def workers(python: Path) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two engines; a test loads what it needs."""
    both = [await Worker.start(python, f"{FAULTY}:Engine") for _ in range(2)]
    yield both[0], both[1]
    for worker in both:
        await worker.close()


@pytest.fixture(autouse=True)
def leaves_nothing() -> None:
    """Allow what a load starts in a test: it ends with the engine, after the last one."""


@pytest.fixture
def cuda(workers: tuple[Worker, Worker]) -> Worker:
    """The one for the card."""
    return workers[0]


@pytest.fixture
def cpu(workers: tuple[Worker, Worker]) -> Worker:
    """The one for the processor."""
    return workers[1]


async def loaded(cuda: Worker, cpu: Worker, model: Any = STORY_MODEL) -> None:
    await cuda.load(model, {"dtype": "float32", "device": "cuda"})
    await cpu.load(model, {"dtype": "float32", "device": "cpu"})


@pytest.mark.parametrize("model", ASKED, ids=lambda path: path.name)
async def test_the_likeliest_words_are_the_processors(cuda: Worker, cpu: Worker, model: Any):
    await loaded(cuda, cpu, model)
    asked = {**ASKED[model], "logprobs": 3, "max_new_tokens": 60}
    (text, _, deltas), (expected, _, others) = await ask(cuda, **asked), await ask(cpu, **asked)
    ours = [token for delta in deltas for token in delta.tokens]
    theirs = [token for delta in others for token in delta.tokens]
    assert text == expected
    assert [token.id for token in ours] == [token.id for token in theirs]
    pairs = [(a.logprob or 0.0, b.logprob or 0.0) for a, b in zip(ours, theirs, strict=True)]
    far = max(abs(a - b) for a, b in pairs)
    print(f"{model.name}: log probabilities differ by {far:.1e} at most")
    assert far < 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("model", ASKED, ids=lambda path: path.name)
async def test_every_number_format_loads_and_writes(cuda: Worker, model: Any, dtype: str):
    info = await cuda.load(model, {"dtype": dtype, "device": "cuda"})
    assert info.description == f"llama, {dtype}, cuda"
    text, finish, deltas = await ask(cuda, **ASKED[model], logprobs=1)
    assert text.strip()
    assert finish.usage.completion
    first = deltas[0].tokens[0].logprob
    assert first is not None
    assert first > -1, "it is nearly sure of the first token"


async def test_a_card_is_chosen_where_there_is_one(cuda: Worker):
    assert (await cuda.load(STORY_MODEL, {})).description == "llama, float32, cuda"


@pytest.mark.parametrize("field", FIELDS)
async def test_a_penalty_works_as_on_a_processor(cuda: Worker, cpu: Worker, field: str):
    await loaded(cuda, cpu)
    asked = {"max_new_tokens": 400 if field == "min_length" else 60, field: FIELDS[field]}
    (text, finish, _), (expected, _, _) = await ask(cuda, **asked), await ask(cpu, **asked)
    assert text == expected
    assert finish.reason != "error"


@pytest.mark.parametrize("field", FILTERS)
async def test_a_filter_and_a_seed_choose_as_on_a_processor(cuda: Worker, cpu: Worker, field: str):
    await loaded(cuda, cpu)
    asked = {"temperature": 1.2, "seed": 3, "max_new_tokens": 40, field: FILTERS[field]}
    assert (await ask(cuda, **asked))[0] == (await ask(cpu, **asked))[0]


async def test_a_grammar_is_kept_as_on_a_processor(cuda: Worker, cpu: Worker):
    await loaded(cuda, cpu)
    asked = {"temperature": 1.2, "seed": 3, "grammar": 'root ::= "a " [a-z ]+ "."'}
    text, finish, _ = await ask(cuda, **asked, max_new_tokens=100)
    assert (text, finish.reason) == ((await ask(cpu, **asked, max_new_tokens=100))[0], "stop")


async def test_requests_are_served_together(cuda: Worker):
    await cuda.load(STORY_MODEL, {"dtype": "float32", "device": "cuda"})
    prompts = ["Once upon a time" + " there was a big dog" * (n % 5) for n in range(16)]
    alone = [(await ask(cuda, prompt, max_new_tokens=100))[0] for prompt in prompts[:5]]
    begun, ended = [0.0] * 16, [0.0] * 16

    async def write(n: int) -> str:
        sampling = Sampling(temperature=0.0, max_new_tokens=100)
        reply, text = cuda.generate(Request(prompt=prompts[n], sampling=sampling)), ""
        async for delta in reply:
            begun[n] = begun[n] or time.monotonic()
            text += delta.text
        ended[n] = time.monotonic()
        return text

    together = await asyncio.gather(*map(write, range(16)))
    assert together == [alone[n % 5] for n in range(16)]
    assert max(begun) < min(ended), "all of them were being written at one time"


async def test_a_cancel_frees_the_card_within_a_step(cuda: Worker, large: Any):
    await cuda.load(large, {"device": "cuda"})
    sampling = Sampling(max_new_tokens=5000, ban_eos_token=True, seed=1)
    request = Request(token_ids=(5, 6, 7), sampling=sampling)
    reply, times = cuda.generate(request), [time.monotonic()]
    for _ in range(20):
        await anext(reply)
        times.append(time.monotonic())
    step = (times[-1] - times[10]) / 10
    begun = time.monotonic()
    reply.cancel()
    [delta async for delta in reply]
    took = time.monotonic() - begun
    print(f"a step takes {step * 1000:.1f} ms, and this cancel took {took * 1000:.1f} ms")
    assert reply.finish
    assert reply.finish.reason == "cancelled"
    assert took < max(0.05, 2 * step)
    await cuda.load(STORY_MODEL, {"dtype": "float32", "device": "cuda"})
    assert (await ask(cuda))[0] == STORY
