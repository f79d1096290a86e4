"""Transformers on a real, tiny model: stories260K, the same that llama.cpp is tried with."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from kernel.api import Message, Request, Sampling, Text, Worker, WorkerError
from tests.engines.alike import (  # noqa: F401
    test_a_filter_narrows_the_choice,
    test_a_penalty_changes_the_words,
    test_seeds_repeat_and_differ,
)
from tests.engines.guide import FOLDER, answers
from tests.engines.real import AT_ONCE, STORIES, STORY, ask, late_words

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="package")]
MODEL = STORIES / "hf"


async def test_a_story_with_its_figures(worker: Worker):
    text, finish, deltas = await ask(worker)
    assert text == STORY, "as llama.cpp writes it"
    assert (finish.reason, finish.usage.prompt, finish.usage.completion) == ("length", 5, 24)
    assert len(deltas) == 24


async def test_a_stop_string_across_tokens(worker: Worker):
    text, finish, _ = await ask(worker, custom_stopping_strings=("e girl", "zzz"))
    assert text == ", there was a littl"
    assert (finish.reason, finish.cut_by) == ("stop", "e girl")


async def test_logprobs(worker: Worker):
    text, _, deltas = await ask(worker, logprobs=3)
    tokens = [token for delta in deltas for token in delta.tokens]
    assert b"".join(token.bytes for token in tokens).decode() == text
    first = tokens[0]
    assert (first.id, len(first.top)) == (432, 3)
    assert first.logprob == pytest.approx(-0.0318, abs=1e-3), "as llama.cpp says"
    assert first.top[0] == (b",", pytest.approx(first.logprob))


async def test_a_chat_and_its_continuation(worker: Worker):
    messages = (Message("user", (Text("Once upon"),)), Message("assistant", (Text(" a time"),)))
    text, _, _ = await ask(worker, messages=messages, continue_=True)
    assert text == STORY
    built = [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
    assert await worker.call("template", messages=built) == "Hi"


async def test_a_thought_that_the_template_began_is_said_first(worker: Worker):
    messages = (Message("user", (Text("Once"),)),)
    template = "{{ messages[0].content }}{% if add_generation_prompt %}<think>\n{% endif %}"
    told = {"messages": messages, "template": template, "max_new_tokens": 5}
    text, finish, _ = await ask(worker, **told)
    assert text.startswith("<think>\n")
    assert text.count("<think>") == 1
    assert finish.usage.completion == 5


async def test_a_folder_that_is_a_link_is_called_by_its_own_name(spare: Worker, tmp_path: Path):
    (tmp_path / "mine").symlink_to(MODEL)
    assert (await spare.load(tmp_path / "mine", {})).name == "mine"


async def test_d40_a_pattern_that_takes_for_ever_costs_one_request(spare: Worker, tmp_path: Path):
    folder = tmp_path / "slow"
    shutil.copytree(MODEL, folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    tokenizer["pre_tokenizer"] = {**split, "invert": False}
    file.write_text(json.dumps(tokenizer))
    await spare.load(folder, {"dtype": "float32"})
    beside = asyncio.create_task(ask(spare, max_new_tokens=5))
    async with asyncio.timeout(60):
        with pytest.raises(WorkerError, match="tokenizer fails at this text"):
            await ask(spare, "a" * 40 + "b")
        with pytest.raises(WorkerError, match="tokenizer fails at this text"):
            await spare.call("tokenize", text="a" * 40 + "b")
        assert (await beside)[1].usage.completion == 5
    assert (await ask(spare, max_new_tokens=5))[1].usage.completion == 5


async def test_an_end_of_text_ends_the_reply(worker: Worker):
    _, finish, _ = await ask(worker, max_new_tokens=400)
    assert finish.reason == "stop"
    _, finish, _ = await ask(worker, max_new_tokens=400, ban_eos_token=True)
    assert finish.reason == "length"


async def test_an_end_that_the_model_does_not_know_disturbs_nothing(spare: Worker, tmp_path: Path):
    """Some folders name one of a tokenizer that has more tokens; and some name none."""
    folder = Path(shutil.copytree(MODEL, tmp_path / "ends"))
    ends, names = folder / "generation_config.json", folder / "tokenizer_config.json"
    ends.write_text('{"eos_token_id": [2, 600]}')
    await spare.load(folder, {"dtype": "float32"})
    text, finish, _ = await ask(spare, grammar='root ::= "yes"', min_length=1)
    assert (text, finish.reason) == ("yes", "stop")
    ends.write_text('{"eos_token_id": [600]}')
    names.write_text(json.dumps({**json.loads(names.read_text()), "eos_token": None}))
    await spare.load(folder, {"dtype": "float32"})
    with pytest.raises(WorkerError, match="has no token that ends a reply"):
        await ask(spare, grammar='root ::= "yes"')
    assert (await ask(spare, ban_eos_token=True, min_length=3))[0] == STORY


async def test_the_guide_says_what_it_was_taught(spare: Worker):
    await spare.load(FOLDER, {"dtype": "float32"})
    await answers(spare, ("gguf", "stop_reply"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
async def test_the_weights_are_of_the_format_that_was_chosen(spare: Worker, dtype: str):
    """The words are the same, as they are the likeliest by far; how likely is rounded otherwise."""
    info = await spare.load(MODEL, {"dtype": dtype, "device": "cpu"})
    assert info.description == f"llama, {dtype}, cpu"
    text, finish, deltas = await ask(spare, logprobs=1)
    assert (text, finish.reason) == (STORY, "length")
    whole = -0.031703
    likely = deltas[0].tokens[0].logprob
    assert likely == pytest.approx(whole, abs=5e-3)
    assert (likely == pytest.approx(whole, abs=2e-5)) == (dtype == "float32")


async def test_a_least_length(worker: Worker):
    _, finish, _ = await ask(worker, max_new_tokens=400, min_length=350)
    assert finish.usage.completion >= 350


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"penalty_alpha": 0.5}, "hf in Transformers cannot do this: penalty_alpha"),
        ({"grammar": "root ::= x"}, "root names x, which is no rule"),
        ({"token_ids": (1, 5000)}, "does not know"),
        ({"token_ids": ()}, "empty"),
        ({"token_ids": (403,) * 600}, "600 tokens, and the context of this model 512"),
        ({"prompt": "x" * 1_000_000}, "1,000,000 characters, far too many for this model"),
    ],
)
async def test_what_it_cannot_do_is_a_sentence(
    worker: Worker, request_: dict[str, Any], words: str
):
    with pytest.raises(WorkerError, match=words):
        await ask(worker, **request_)
    assert (await ask(worker))[0] == STORY


async def test_requests_of_all_lengths_run_together_with_the_words_they_have_alone(
    worker: Worker,
):
    prompts = ["Once upon a time" + " there was a big dog" * n for n in (0, 7, 1, 70, 3, 0)]
    alone = [(await ask(worker, prompt, max_new_tokens=n * 7 + 5))[0] for n, prompt in
             enumerate(prompts)]  # fmt: skip
    together = await asyncio.gather(
        *(ask(worker, prompt, max_new_tokens=n * 7 + 5) for n, prompt in enumerate(prompts))
    )
    assert [text for text, _, _ in together] == alone


async def test_a_conversation_is_not_read_again(worker: Worker):
    first = "Tom had a red ball. " * 8
    text, _, _ = await ask(worker, first)
    second, finish, _ = await ask(worker, first + text + " The end.")
    assert finish.usage.cached > 40
    for n in range(4):  # others push it out
        await ask(worker, f"{n} little dogs. " * 9)
    again, finish, _ = await ask(worker, first + text + " The end.")
    assert finish.usage.cached < 40
    assert again == second


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def change(folder: Path, **more: object) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **more}))


async def test_a_cancel_frees_the_engine_at_once(spare: Worker, folder: Path):
    """In the midst of a reply that would take it ten times as long as it may."""
    change(folder, max_position_embeddings=50_000)
    await spare.load(folder, {"dtype": "float32"})
    sampling = Sampling(max_new_tokens=49_000, ban_eos_token=True, seed=1)
    reply = spare.generate(Request(prompt="Once", sampling=sampling))
    for _ in range(5):
        await anext(reply)
    begun = time.monotonic()
    assert await late_words(reply, spare.call("tokenize", text="x")) <= 1, "that under way"
    assert time.monotonic() - begun < AT_ONCE
    assert reply.finish
    assert reply.finish.reason == "cancelled"
    assert 5 <= reply.finish.usage.completion < 10_000
    assert (await ask(spare))[0] == STORY, "it is free for the next one"


async def test_a_short_prompt_waits_for_no_long_one_and_many_of_them_hold_up_none(
    spare: Worker, folder: Path
):
    change(folder, max_position_embeddings=2500)
    await spare.load(folder, {"dtype": "float32"})
    one = Sampling(max_new_tokens=1)
    long = spare.generate(Request(token_ids=(1, *[403] * 2400), sampling=one))
    await ask(spare, "Hi", max_new_tokens=1)
    assert not long.began
    shorts = [ask(spare, token_ids=(1, n, *[403] * 250), max_new_tokens=1) for n in range(3, 28)]
    written = asyncio.gather(*shorts)
    await anext(long)
    assert not written.done()
    await written


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


BAD = {
    "pickle": (without_weights, "a format that can run programs"),
    "cut": (cut, "cannot be loaded"),
    "auto_map": (lambda folder: change(folder, auto_map={"AutoModel": "m.M"}), "trust-remote-code"),
    "quantized": (
        lambda folder: change(folder, quantization_config={"quant_method": "gptq"}),
        "quantized \\(gptq\\)",
    ),
    "a million layers": (
        lambda folder: change(folder, num_hidden_layers=1_000_000),
        r"incomplete: its configuration asks for 1,000,000 layers, and its files have \d+ tensors",
    ),
    "gigabytes of words": (
        lambda folder: change(folder, vocab_size=50_000_000),
        r"incomplete: its configuration asks for [\d,]+ weights, and its files have [\d,]+\.",
    ),
    "missing weights": (
        lambda folder: change(folder, num_hidden_layers=6),
        r"incomplete, weights are not in its files: \S+, \S+, \S+ and \d+ more\. ",
    ),
    "other shapes": (
        lambda folder: change(folder, intermediate_size=100),
        "damaged, .+ other shapes",
    ),
    "no such kind": (lambda folder: change(folder, model_type="nonsense"), "nonsense"),
}


async def test_a_folder_that_must_not_be_loaded_is_refused(
    spare: Worker, folder: Path, tmp_path: Path
):
    for name, (spoil, words) in BAD.items():
        copy = Path(shutil.copytree(folder, tmp_path / name))
        spoil(copy)
        with pytest.raises(WorkerError, match=words):
            await spare.load(copy, {"trust_remote_code": True})  # Of which a load knows nothing.
    info = await spare.load(folder, {"context_length": 100})
    assert (info.name, info.context_length) == ("model", 100)
    assert info.special_tokens == {"bos": 1, "eos": 2, "unk": 0}
    assert (await ask(spare))[0] == STORY
