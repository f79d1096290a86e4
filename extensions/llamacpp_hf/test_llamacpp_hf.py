"""llamacpp_HF on a real, tiny model, beside what transformers itself and llama.cpp write."""

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.llama_cpp.api import with_flags
from extensions.llamacpp_hf import HfOptions, accepts, flags
from kernel.api import LOADERS, Processor, Request, Sampling, Worker, WorkerError, check
from kernel.contract import Output
from kernel.testing import running
from tests.engines.alike import (  # noqa: F401
    test_a_filter_narrows_the_choice,
    test_a_penalty_changes_the_words,
    test_seeds_repeat_and_differ,
)
from tests.engines.plain import CONTRASTS, NEGATIVE, ODD, SCALES, plain
from tests.engines.real import ROOT, STORIES, STORY, ask, engine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="package")]
MODEL, HALF, FOLDER = (
    STORIES / name for name in ("stories260K.gguf", "stories260K-f16.gguf", "hf")
)
ADAPTER = STORIES.parent / "lora-stories260K"
LORA = ((str(ADAPTER / "lora-shakespeare-f32.gguf"), 1.0),)
LEANING = ROOT / "tests" / "engines" / "leaning.py"
PIECE = 64
"""Tokens that are read beside at once."""
BESIDE = ROOT / "tests" / "engines" / "beside.py"
ALL = {"cfg_cache": True}
LONG = " ".join(f"Lily saw {n} birds and she was happy." for n in range(80))
"""Many pieces."""


@pytest.fixture(scope="module")
def expected(environment: Path) -> Any:
    return plain(environment)


@pytest_asyncio.fixture(loop_scope="package", scope="module", autouse=True)
async def worker(environment: Path) -> AsyncIterator[Worker]:
    async with engine("llamacpp_hf", environment) as worker:
        await worker.load(MODEL, ALL)
        yield worker


async def test_a_story_with_its_figures(worker: Worker):
    text, finish, deltas = await ask(worker)
    assert text == STORY
    assert (finish.reason, finish.usage.prompt, finish.usage.completion) == ("length", 5, 24)
    assert len(deltas) > 20, "it streams"


async def test_a_stop_string_across_tokens(worker: Worker):
    text, finish, _ = await ask(worker, custom_stopping_strings=("e girl", "zzz"))
    assert text == ", there was a littl"
    assert (finish.reason, finish.cut_by) == ("stop", "e girl")


async def test_logprobs(worker: Worker):
    _, _, deltas = await ask(worker, logprobs=3)
    first = deltas[0].tokens[0]
    assert (first.id, len(first.top)) == (432, 3)
    assert first.logprob == pytest.approx(-0.0318, abs=1e-3)


async def test_eight_at_once_write_what_one_does(worker: Worker):
    alone, _, _ = await ask(worker, max_new_tokens=60)
    together = await asyncio.gather(*(ask(worker, max_new_tokens=60) for _ in range(8)))
    assert [text for text, _, _ in together] == [alone] * 8
    guided = {"guidance_scale": 3.0, "negative_prompt": NEGATIVE, "max_new_tokens": 40}
    mixed = [
        guided,
        {"guidance_scale": 1.5, "max_new_tokens": 40},
        {"penalty_alpha": 0.5, "top_k": 3},
    ]
    one_by_one = [(await ask(worker, **each))[0] for each in mixed]
    together = await asyncio.gather(*(ask(worker, **each) for each in (mixed + mixed + mixed)[:8]))
    assert [text for text, _, _ in together] == (one_by_one * 3)[:8]


async def test_a_cancelled_reply_ends(worker: Worker):
    """Also one with guidance, whose line beside is free again afterwards."""
    for more in ({}, {"guidance_scale": 2.0, "negative_prompt": NEGATIVE}):
        for _ in range(20):
            sampling = Sampling(max_new_tokens=1500, ban_eos_token=True, **more)
            reply = worker.generate(Request(prompt="Once", sampling=sampling))
            async for _ in reply:
                reply.cancel()
            assert reply.finish
            assert reply.finish.reason == "cancelled"
    assert (await ask(worker))[0] == STORY


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 1.5, "seed": 3},
        {"guidance_scale": 2.0, "negative_prompt": NEGATIVE},
        {"penalty_alpha": 0.5, "top_k": 3},
    ],
)
async def test_a_grammar(worker: Worker, more: dict[str, Any]):
    text, finish, _ = await ask(worker, grammar='root ::= "yes" | "no"', **more)
    assert text in ("yes", "no")
    assert finish.reason == "stop"


async def test_processors_of_extensions(worker: Worker):
    lean = Processor(f"{LEANING}:Lean", {"token": 300})
    (_, _, deltas), (text, _, _) = await asyncio.gather(
        ask(worker, logprobs=0, processors=(lean,)), ask(worker)
    )
    ids = [token.id for delta in deltas for token in delta.tokens]
    assert ids == [432, *[300] * 23], "as in llama.cpp's own engine"
    assert text == STORY


@pytest.mark.parametrize("more", [{}, {"guidance_scale": 1.5}, {"penalty_alpha": 0.3, "top_k": 3}])
async def test_banned_strings_are_gone_back_from(worker: Worker, more: dict[str, Any]):
    bans = {"extra": {"banned_strings": ("little girl", "to play")}}
    plain, _, _ = await ask(worker, max_new_tokens=40, **more)
    assert "little girl" in plain
    text, finish, _ = await ask(worker, max_new_tokens=40, **bans, **more)
    assert "little girl" not in text
    assert "to play" not in text
    assert text.startswith(plain[: plain.index("little girl") - 2])
    assert finish.usage.completion == 40


async def test_going_back_goes_back_beside_too(worker: Worker):
    """After a ban, the negative prompt goes on as if the reply had never said anything else."""
    wish = {"guidance_scale": 3.0, "max_new_tokens": 40, "ban_eos_token": True}
    ban = {"extra": {"banned_strings": ("friends",)}}
    text, _, _ = await ask(worker, negative_prompt=NEGATIVE, **ban, **wish)
    assert "friends" in (await ask(worker, negative_prompt=NEGATIVE, **wish))[0]
    begun = text[: text.index(",")]
    rest, _, _ = await ask(
        worker, f"Once upon a time{begun}", negative_prompt=NEGATIVE + begun, **wish
    )
    assert text.startswith(begun + rest[:20])


# --- what llama.cpp's own engine cannot do ---


async def test_guidance_is_what_transformers_does(worker: Worker, expected: Any):
    """With a negative prompt, and without one: then the last token of the prompt stands for it."""
    texts: list[str] = []
    for scale in SCALES:
        for negative in (NEGATIVE, ""):
            more = {"guidance_scale": scale, "negative_prompt": negative, "max_new_tokens": 60}
            texts.append((await ask(worker, ban_eos_token=True, **more))[0].lstrip())
    assert texts == [text.lstrip() for text in expected["guided"]]
    assert not texts[2].startswith(STORY)


async def test_guidance_of_1_changes_nothing(worker: Worker):
    text, _, _ = await ask(worker, guidance_scale=1.0, negative_prompt=NEGATIVE)
    assert text == STORY


async def test_contrastive_search_is_what_its_definition_says(worker: Worker, expected: Any):
    wishes = [{"penalty_alpha": a, "top_k": k, "max_new_tokens": 40} for a, k in CONTRASTS]
    assert [(await ask(worker, **each))[0] for each in wishes] == expected["contrasted"]
    together = await asyncio.gather(*(ask(worker, **each) for each in wishes * 3))
    assert [text for text, _, _ in together] == expected["contrasted"] * 3


NEGATIVES = {"negative_prompt": LONG, "guidance_scale": 1.5}


@pytest.mark.parametrize(
    ("prompt", "more"),
    [("Hi", NEGATIVES), (LONG, {"penalty_alpha": 0.5, "top_k": 4, "do_sample": False})],
)
async def test_what_is_read_beside_a_reply_holds_up_no_other_and_can_be_stopped(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, prompt: str, more: dict[str, Any]
):
    news: list[Output] = []
    kind: Any = sys.modules["kernel.generation"].Generation  # It hears what engines tell.
    hear, begun = kind.hear, asyncio.Event()

    def noted(reply: Any, output: Output) -> None:
        news.append(output)
        if output.progress:
            begun.set()
        hear(reply, output)

    monkeypatch.setattr(kind, "hear", noted)
    endless = Sampling(ban_eos_token=True, max_new_tokens=1900)
    other = worker.generate(Request(prompt="Tom", sampling=endless))
    await anext(other)
    await ask(worker, prompt, **more)
    pieces = [at for at, output in enumerate(news) if output.progress is not None]
    assert len(pieces) > 10
    beside = sum(output.delta is not None for output in news[pieces[0] : pieces[-1]])
    assert beside > 10, "the other one went on writing"
    begun.clear()
    sampling = Sampling(max_new_tokens=24, **more)
    stopped = worker.generate(Request(prompt="A" + prompt, sampling=sampling))
    await begun.wait()
    stopped.cancel()
    assert [delta async for delta in stopped] == []
    other.cancel()


async def test_many_that_read_beside_hold_up_the_others_no_longer_than_one(environment: Path):
    """They take turns, and a reply with guidance that is written already waits for none."""
    guided = {"guidance_scale": 1.5, "ban_eos_token": True}
    async with engine("llamacpp_hf", environment, BESIDE) as worker:
        await worker.load(MODEL, ALL)
        negatives = [f"{n} " + LONG[:800] for n in range(4)]
        written = [(await ask(worker, negative_prompt=each, **guided))[0] for each in negatives]
        endless = Sampling(max_new_tokens=1000, **guided)
        other = worker.generate(Request(prompt="Tom", sampling=endless))
        await anext(other)
        await worker.call("watch")
        asked = [ask(worker, negative_prompt=each, **guided) for each in negatives]
        async with asyncio.timeout(20):
            again = await asyncio.gather(*asked)
        assert [text for text, _, _ in again] == written
        assert await worker.call("most") <= 2 * PIECE, "one of it, and one of those that read"
        other.cancel()
        assert len([delta async for delta in other]) > 24, "it went on meanwhile"


async def said_at_the_end(reply: Any) -> str:
    with pytest.raises(WorkerError) as failure:
        async for _ in reply:
            pass
    return str(failure.value)


async def test_memory_that_is_gone_beside_ends_its_reply_and_no_more_unless_a_step_fails_too(
    environment: Path,
):
    endless = Request(prompt="Tom", sampling=Sampling(ban_eos_token=True, max_new_tokens=1900))
    guided = Request(prompt="Hi", sampling=Sampling(max_new_tokens=9, **NEGATIVES))
    async with engine("llamacpp_hf", environment, BESIDE) as worker:
        await worker.load(MODEL, ALL)
        other = worker.generate(endless)
        await anext(other)
        await worker.call("starve", step=False)
        said = await said_at_the_end(worker.generate(guided))
        assert said.startswith("The memory ran out while reading a prompt. Shorten what is sent")
        await anext(other)
        await worker.call("starve", step=True)
        async with asyncio.timeout(10):
            said = await asyncio.gather(*map(said_at_the_end, (worker.generate(guided), other)))
        assert "while reading a prompt" in said[0]
        assert "while writing a reply" in said[1]
        assert (await ask(worker))[0] == STORY


async def test_what_may_come_next_goes_through_its_samplers(worker: Worker):
    said = await worker.call("logits", text="Once upon a time", sampling={"top_k": 4}, top=10)
    before = {each["id"]: each["before"] for each in said["tokens"]}
    assert before[432] == pytest.approx(0.9687, abs=1e-3)
    assert [each["cut_by"] for each in said["tokens"]] == [""] * 4 + ["top_k"] * 6
    total = sum(sorted(before.values())[-4:])
    assert said["tokens"][0]["after"] == pytest.approx(before[432] / total, rel=1e-4)


async def test_the_scores_of_a_whole_text(worker: Worker, expected: Any):
    said = await worker.call("scores", text="Once upon a time", top=2)
    assert said["logprobs"][0] is None
    assert said["logprobs"][1:] == pytest.approx(expected["logprobs"], abs=2e-3)
    assert said["top"][-1][0] == [432, pytest.approx(-0.0318, abs=1e-3)]
    long = await worker.call("scores", token_ids=said["token_ids"] * 100)
    assert len(long["logprobs"]) == 500, "it is read in parts"
    again = await worker.call("scores", token_ids=said["token_ids"] * 50)
    assert again["logprobs"][1:] == pytest.approx(long["logprobs"][1:250], abs=2e-2)
    with pytest.raises(WorkerError, match="Read it in parts"):
        await worker.call("scores", token_ids=[403] * 5000)
    with pytest.raises(WorkerError, match="invalid tokens"):
        await worker.call("scores", token_ids=[1, 512])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"penalty_alpha": 0.6}, "set top_k to 2 to 32"),
        ({"penalty_alpha": 0.6, "top_k": 33}, "set top_k to 2 to 32"),
        ({"penalty_alpha": 0.6, "top_k": 4, "temperature": 1.0}, "Switch do_sample off"),
        ({"penalty_alpha": 0.6, "top_k": 4, "guidance_scale": 2.0}, "do not go together"),
        ({"guidance_scale": 2.0, "negative_prompt": "a b c " * 1000}, "negative prompt has"),
        ({"num_beams": 2}, "in llamacpp_HF cannot do this: num_beams"),
    ],
)
async def test_what_cannot_be_is_refused(worker: Worker, wish: Any, words: str):
    with pytest.raises(WorkerError, match=words):
        await ask(worker, **wish)


async def test_a_reply_with_guidance_ends_where_its_negative_prompt_leaves_no_room(spare: Worker):
    await spare.load(MODEL, {**ALL, "context_length": 256})
    negative = "Once upon a time there was " * 20
    taken = len(await spare.call("tokenize", text=negative))
    wish = {"guidance_scale": 1.2, "negative_prompt": negative, "ban_eos_token": True}
    _, finish, _ = await ask(spare, max_new_tokens=500, **wish)
    assert (finish.reason, finish.usage.completion) == ("length", 256 - taken)
    alone, _, _ = await ask(spare, max_new_tokens=12, **wish)
    many = await asyncio.gather(*(ask(spare, max_new_tokens=12, **wish) for _ in range(4)))
    assert [text for text, _, _ in many] == [alone] * 4, "who had to make room is read again"


@pytest.mark.parametrize(
    "wish", [{"guidance_scale": 1.2}, {"penalty_alpha": 0.6, "top_k": 4, "temperature": 0.0}]
)
@pytest.mark.parametrize("text", ["Once upon a time there was {} ", "Once upon a time. "])
async def test_what_is_read_beside_takes_turns_where_only_one_finds_room(
    spare: Worker, wish: Any, text: str
):
    """Each would push out for ever what another read of its own."""
    await spare.load(MODEL, {**ALL, "context_length": 400})
    texts = [text.format(letter) * 36 + letter for letter in "abcdefgh"]
    where = "negative_prompt" if "guidance_scale" in wish else "prompt"
    wishes = [{where: text, "max_new_tokens": 8, **wish} for text in texts]
    alone = [(await ask(spare, **each))[0] for each in wishes]
    many = await asyncio.gather(*(ask(spare, **each) for each in wishes))
    assert [text for text, _, _ in many] == alone


async def test_memory_beside_is_only_there_when_it_was_wanted(spare: Worker):
    info = await spare.load(MODEL, {})
    assert "logits" in info.capabilities, "what may come next needs no memory of its own"
    assert (await ask(spare))[0] == STORY
    for option in ({"mmproj": "eyes.gguf"}, {"engine": "prebuilt"}):
        with pytest.raises(WorkerError, match=f"cannot do this: {next(iter(option))}"):
            await spare.load(MODEL, option)
    with pytest.raises(WorkerError, match=r"Guidance .* Load the model with cfg_cache"):
        await ask(spare, guidance_scale=2.0)
    with pytest.raises(WorkerError, match=r"Contrastive .* Load the model with cfg_cache"):
        await ask(spare, penalty_alpha=0.6, top_k=4)
    assert len((await spare.call("scores", text="Once"))["logprobs"]) > 1


# --- the same text everywhere ---


async def test_the_same_200_tokens_from_three_loaders(
    spare: Worker, environments_dir: Path, environment: Path, expected: Any
):
    """From 16 bits through this loader and llama.cpp's own, and from 32 through Transformers; each
    also with an adapter, in either form."""
    wish = {"max_new_tokens": 200, "ban_eos_token": True}
    await spare.load(HALF, {})
    text, finish, _ = await ask(spare, **wish)
    assert finish.usage.completion == 200
    assert text == expected["plain"]
    adapted, _, _ = await ask(spare, adapters=LORA, **wish)
    assert adapted == expected["adapted"]
    assert adapted != text
    async with engine("transformers", environment) as other:
        await other.load(FOLDER, {"dtype": "float32"})
        assert (await ask(other, **wish))[0] == text
        assert (await ask(other, adapters=((str(ADAPTER), 1.0),), **wish))[0] == adapted
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as other:
        await other.load(HALF, {})
        assert (await ask(other, **wish))[0] == text
        assert (await ask(other, adapters=LORA, **wish))[0] == adapted


async def test_adapters_work_beside_too(worker: Worker, expected: Any):
    """The negative prompt is read with the reply's adapters, not with those of others."""
    wish = {"guidance_scale": 3.0, "negative_prompt": NEGATIVE, "max_new_tokens": 60}
    each = [ask(worker, adapters=each, ban_eos_token=True, **wish) for each in ((), LORA, (), LORA)]
    said = [text.lstrip() for text, _, _ in await asyncio.gather(*each)]
    plain, adapted = expected["guided"][2].lstrip(), expected["adapted_guided"].lstrip()
    assert said == [plain, adapted] * 2


# --- tokenizers ---


async def test_the_files_own_tokenizer_is_that_of_transformers(worker: Worker, expected: Any):
    found = [await worker.call("tokenize", text=text) for text in ODD]
    assert found == expected["ids"]


def copied(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        source = FOLDER / name if (FOLDER / name).exists() else STORIES / name
        (folder / name).symlink_to(source)
    return folder


async def test_a_folders_tokenizer_and_template(spare: Worker, tmp_path: Path, expected: Any):
    names = ("tokenizer.json", "tokenizer_config.json", "stories260K.gguf")
    folder = copied(tmp_path / "stories", *names)
    assert accepts(folder)
    info = await spare.load(folder, {})
    assert (info.name, info.path) == ("stories", str(folder)), "it is called as it is listed"
    assert info.chat_template, "the file has none, the folder has"
    assert [await spare.call("tokenize", text=text) for text in ODD] == expected["ids"]
    assert (await ask(spare))[0] == STORY
    named = await spare.load(MODEL, {"tokenizer_dir": str(folder)})
    assert named.chat_template == info.chat_template
    assert (named.name, named.path) == (MODEL.stem, str(MODEL))


def without_tokenizer(file: Path) -> Path:
    """The same model without tokens: what is in their place fills just as many bytes."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    data, key = MODEL.read_bytes(), text("general.architecture")
    end = data.index(key)  # The first four keys are the tokenizer's lists and its kind.
    model = text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("no_vocab")
    size = text("llama.vocab_size") + struct.pack("<II", 4, 512)
    filler = text("general.description") + struct.pack("<I", 8)
    missing = end - 24 - len(model + size + filler) - 8
    count = int.from_bytes(data[16:24], "little") - 1
    head = data[:16] + struct.pack("<Q", count) + model + size + filler + text("x" * missing)
    file.write_bytes(head + data[end:])
    return file


async def test_a_file_without_tokens_needs_a_folder(
    spare: Worker, tmp_path: Path, environments_dir: Path
):
    file = without_tokenizer(tmp_path / "mute.gguf")
    with pytest.raises(WorkerError, match=r"mute\.gguf has no tokenizer\. Name the folder"):
        await spare.load(file, {})
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as other:
        with pytest.raises(
            WorkerError, match=r"no tokenizer of its own\. Load it with llamacpp_HF"
        ):
            await other.load(file, {})
    copied(tmp_path / "oobabooga_llama-tokenizer", "tokenizer.json", "tokenizer_config.json")
    info = await spare.load(file, {})
    assert info.special_tokens["eos"] == 2
    assert (await ask(spare))[0] == STORY
    text, finish, _ = await ask(spare, logit_bias={2: 100.0})
    assert (text, finish.reason) == ("", "stop")


async def test_a_tokenizer_that_is_none_or_another_models(spare: Worker, tmp_path: Path):
    with pytest.raises(WorkerError, match=r"no tokenizer in nowhere: it needs tokenizer\.json"):
        await spare.load(MODEL, {"tokenizer_dir": "nowhere"})
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "tokenizer.json").write_text("{}")
    with pytest.raises(WorkerError, match="cannot be read"):
        await spare.load(MODEL, {"tokenizer_dir": str(bad)})
    other = copied(tmp_path / "other", "tokenizer_config.json")
    said = json.loads((FOLDER / "tokenizer.json").read_text("utf-8"))
    words = said["model"]["vocab"]
    said["model"]["vocab"] = dict(zip(words, reversed(words.values()), strict=True))
    (other / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(WorkerError, match="that of another model: of 512 tokens"):
        await spare.load(MODEL, {"tokenizer_dir": str(other)})


async def test_llama_cpp_stays_the_first_choice_and_lends_its_form():
    async with running("llamacpp_hf") as app:
        ext = app.extension("llamacpp_hf")
        takers = [loader for loader in ext.get(LOADERS) if loader.accepts(Path("a.gguf"))]
        assert [loader.id for loader in takers] == ["llama_cpp", "llamacpp_hf"]
        first, own = (set(loader.Options.__struct_fields__) for loader in takers)
        assert own - first == {"cfg_cache", "tokenizer_dir"}
        said = {"n_ctx": 512, "cfg-cache": True, "logits_all": "true", "no_mmap": True}
        good, bad = check(takers[1].Options, said)
        assert good == {"context_length": 512, "cfg_cache": True, "mmap": False}
        assert not bad
        assert "llamacpp_HF has it" in check(takers[0].Options, {"cfg_cache": True})[1]["cfg_cache"]


async def test_flags_are_the_forms_defaults():
    async with running("llamacpp_hf") as app:
        ext = app.extension("llamacpp_hf")
        app.kernel.flags["llamacpp_hf"] = {"cfg-cache": True, "tokenizer-dir": "x"}
        form = with_flags(flags(ext), HfOptions)()
        assert (form.cfg_cache, form.tokenizer_dir) == (True, "x")


async def test_what_it_takes(tmp_path: Path):
    assert accepts(Path("a.gguf"))
    assert not accepts(tmp_path)
    (tmp_path / "a.gguf").touch()
    (tmp_path / "config.json").touch()
    assert not accepts(tmp_path), "its file is listed, and llama.cpp is first for that"
    (tmp_path / "tokenizer.json").touch()
    assert accepts(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert not accepts(tmp_path), "that is for Transformers"
