"""The options of llama.cpp: their names, old and new, and what both engines make of them."""

import asyncio
import itertools
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Any, cast

import httpx
import psutil
import pytest

from extensions.engine_kit.api import STOPPED, Gguf
from extensions.llama_cpp import meaning
from extensions.llama_cpp.honoured import HONOURED
from extensions.llama_cpp.meaning import SMALL, tokens_at_once
from extensions.llama_cpp.options import FLAGS, Options, complete, with_flags
from extensions.llama_cpp.prebuilt_sampling import HONOURED as PREBUILT
from extensions.llama_cpp.prebuilt_vectors import Vectors
from kernel.api import LOADERS, Message, Refused, Text, WorkerError, check, fields
from kernel.testing import running
from tests.engines.guide import GGUF as GUIDE
from tests.engines.guide import answers
from tests.engines.real import ROOT, STORIES, STORY, ask, engine, interpreter
from tests.engines.tiny import make_lora, make_rwkv

MODEL = STORIES / "stories260K.gguf"
QUESTION = (Message("user", (Text("What is a GGUF file?"),)),)
HERE = Path(__file__).parent


# --- their names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ({"n_ctx": "4096"}, {"context_length": 4096}),
        ({"ctx_size": 0}, {"context_length": 0}),
        ({"n-gpu-layers": 33}, {"gpu_layers": 33}),
        ({"n_batch": 256, "n_ubatch": 64}, {"batch_size": 256, "ubatch_size": 64}),
        ({"no_mmap": True}, {"mmap": False}),
        ({"no_mmap": "false"}, {}),
        ({"no_offload_kqv": True}, {"no_kv_offload": True}),
        ({"row_split": True}, {"split_mode": "row"}),
        ({"cache_8bit": True}, {"cache_type": "q8_0"}),
        ({"cache_4bit": "true"}, {"cache_type": "q4_0"}),
        ({"cache_type": "fp16"}, {"cache_type": "f16"}),
        ({"cpu": True}, {"gpu_layers": 0}),
        ({"cpu": False, "n_gqa": 0, "tensorcores": False, "spec_type": "none"}, {}),
        ({"trust_remote_code": False, "no_use_fast": "false"}, {}),
        ({"cache_capacity": "2GiB"}, {"cache_ram": 2048}),
        ({"cache_capacity": "300MiB"}, {"cache_ram": 300}),
        ({"flash_attn": True}, {"flash_attn": "on"}),
        ({"rope_freq_scale": 0.5}, {"compress_pos_emb": 2.0}),
        ({"gpu_layers": 5, "cpu": True}, {"gpu_layers": 5}),
        ({"n-gpu-layers": 1_000_000_000}, {"gpu_layers": 10_000}),
        ({"gpu_layers": "1000000000"}, {"gpu_layers": 10_000}),
        ({"flash-attn": "True"}, {"flash_attn": "on"}),
        ({"flash_attn": "False"}, {"flash_attn": "off"}),
        ({"cache_type": "q8"}, {"cache_type": "q8_0"}),
        ({"cache-type": "Q4"}, {"cache_type": "q4_0"}),
        ({"cache_type": "fp8"}, {"cache_type": "q8_0"}),
        ({"mmproj": "None", "threads": 2}, {"mmproj": "", "threads": 2}),
        ({"model_draft": "None", "draft_max": 4, "gpu_layers_draft": 256}, {}),
        ({"spec_type": "none", "spec_ngram_size_n": 24, "spec_ngram_min_hits": 1}, {}),
        ({"fit_target": "512"}, {}),
    ],
)
def test_an_old_name_is_understood(old: dict[str, Any], now: dict[str, Any]):
    assert check(Options, old) == (now, {})


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("tensorcores", True, "by itself"),
        ("trust_remote_code", True, "no code"),
        ("n_gqa", 8, "override_kv"),
        ("rms_norm_eps", 1e-6, "override_kv"),
        ("cfg_cache", "true", "llamacpp_HF"),
        ("extra_flags", "--temp 1", "an option here"),
        ("model_draft", "small.gguf", "speculative"),
        ("spec_type", "ngram-simple", "speculative"),
        ("fit_target", "2048", "gpu_layers -1"),
        ("llama_cpp_seed", 7, "seed"),
    ],
)
def test_what_is_gone_names_what_takes_its_place(name: str, value: Any, instead: str):
    good, errors = check(Options, {name: value, "threads": 2})
    assert good == {"threads": 2}
    assert instead in errors[name]
    assert errors[name].endswith(f"Leave {name} out.")


def test_a_mistyped_name_meets_the_old_ones_too():
    _, errors = check(Options, {"n_ctxx": 512, "gpu_layer": 3})
    assert errors == {
        "n_ctxx": "There is no setting “n_ctxx”; did you mean “n_ctx”?",
        "gpu_layer": "There is no setting “gpu_layer”; did you mean “gpu_layers”?",
    }


def test_shares_that_are_none_are_told_how_they_are_written():
    _, errors = check(Options, {"tensor_split": "60;40"})
    assert errors == {
        "tensor_split": "Tensor split must be numbers with commas between them, like 60,40."
    }


@pytest.mark.parametrize("value", [[], {}, None, "x", 1e400, [["on"]], -1])
def test_odd_values_are_told_and_raise_nothing(value: Any):
    odd = dict.fromkeys((*Options.__struct_fields__, "cache_capacity", "rope_freq_scale"), value)
    check(Options, odd)
    check(Options, {"n_ctx": value, "no_mmap": value, "n_gqa": value})


def test_the_form_is_short_and_says_what_everything_is():
    rows = fields(Options)
    assert [row.name for row in rows if not row.group] == [
        "context_length", "gpu_layers", "threads", "cache_type",
    ]  # fmt: skip
    for row in rows:
        assert row.help.endswith("."), row.name
        assert row.wants != "something else", row.name
        bounded = row.low is not None and row.high is not None
        assert bounded or row.kind not in ("number", "range"), row.name


def test_all_options_with_their_defaults_satisfy_themselves():
    given = complete({"threads": 2})
    assert given.keys() == set(Options.__struct_fields__)
    assert check(Options, {**given, "lora": list(given["lora"]), "override_kv": []})[1] == {}


def test_flags_are_options_by_some_name():
    manifest = tomllib.loads((HERE / "extension.toml").read_text("utf-8"))
    flags = [flag for flag in manifest["flags"] if flag["name"] != "embedding-model"]
    assert tuple(flag["name"] for flag in flags) == FLAGS
    kinds = {"int": 40, "float": 2.0, "list": ["a"], "bool": True, "str": "7"}
    words: dict[str, Any] = {
        "main-gpu": 1,
        "cache-type": "q8_0",
        "flash-attn": "on",
        "split-mode": "row",
        "engine": "native",
    }
    for flag in flags:
        value = words.get(flag["name"]) or kinds[flag.get("type", "bool")]
        good, errors = check(Options, {flag["name"]: value})
        assert len(good) == 1, errors


def test_a_flag_is_the_default_of_the_form():
    kind = with_flags({"threads": 3, "mmap": False, "lora": ("a.gguf",)})
    assert kind.__struct_fields__ == Options.__struct_fields__
    shown = {row.name: row for row in fields(kind)}
    assert (shown["threads"].default, shown["mmap"].default) == ("3", False)
    assert not any(row.changed for row in shown.values())
    assert check(kind, {"n_ctx": 64}) == ({"context_length": 64}, {})


async def test_flags_fill_the_form():
    async with running("llama_cpp", "engine_kit") as app:
        kernel = app.kernel
        for flags in (
            {"ctx-size": 300, "n-gpu-layers": 0, "cache-type": "q4_0"},
            {"n-ctx": 300, "gpu-layers": 0, "cache-4bit": True},  # as they were called elsewhere
        ):
            kernel.flags["llama_cpp"] = flags
            assert await kernel.restart("llama_cpp")
            options: Any = app.extension("llama_cpp").get(LOADERS)[0].Options()
            assert (options.context_length, options.gpu_layers) == (300, 0)
            assert options.cache_type == "q4_0"


async def test_a_wrong_flag_is_left_out_and_told_and_the_loader_runs(
    caplog: pytest.LogCaptureFixture,
):
    async with running("llama_cpp", "engine_kit") as app:
        kernel = app.kernel
        kernel.flags["llama_cpp"] = {"threads": 1000, "n-ctx": 300, "cache-type": "q6"}
        assert await kernel.restart("llama_cpp")
        loader: Any = app.extension("llama_cpp").get(LOADERS)[0]
        assert loader.given == {"context_length": 300}
        told = "The flag --threads is left out: Threads must be a whole number from 0 to 256."
        assert told in loader.note
        assert "--cache-type is left out: Cache type must be one of" in loader.note
        assert [told in record.getMessage() for record in caplog.records].count(True) == 1
        assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("variant", "flags", "expected"),
    [
        ("", {}, PREBUILT),
        ("native", {}, HONOURED),
        ("native", {"engine": "prebuilt"}, PREBUILT),
        ("native", {"mmproj": "eyes.gguf"}, PREBUILT),
    ],
)
async def test_the_parameters_that_count_are_those_of_the_engine_in_use(
    variant: str, flags: dict[str, Any], expected: tuple[str, ...]
):
    """The page of parameters shows them before anything is loaded."""
    settings = {"llama_cpp": {"variant": variant}} if variant else {}
    async with running("llama_cpp", "engine_kit", settings=settings) as app:
        app.kernel.flags["llama_cpp"] = flags
        assert await app.kernel.restart("llama_cpp")
        loader: Any = app.extension("llama_cpp").get(LOADERS)[0]
        assert loader.samplers == expected


# --- what they mean ---------------------------------------------------------------------


def test_a_stretched_context():
    assert meaning.rope({"alpha_value": 2.5})[0] == pytest.approx(10_000 * 2.5 ** (64 / 63))
    assert meaning.rope({"alpha_value": 2.5, "rope_freq_base": 5e5})[0] == 5e5
    assert meaning.rope({"compress_pos_emb": 4.0}) == (0.0, 0.25)
    assert meaning.rope({}) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "card", "mode"),
    [
        ({}, False, 0),
        ({}, True, -1),
        ({"flash_attn": "on"}, False, 1),
        ({"flash_attn": "off"}, True, 0),
        ({"cache_type": "q8_0"}, False, 1),
    ],
)
def test_flash_attention_is_off_where_it_costs(options: dict[str, Any], card: bool, mode: int):
    assert meaning.flash_attention(options, card) == mode


def test_a_small_cache_needs_flash_attention():
    with pytest.raises(Exception, match="q4_0 needs flash attention"):
        meaning.flash_attention({"cache_type": "q4_0", "flash_attn": "off"}, card=True)


def test_a_machine_that_does_not_answer_is_refused_before_llama_cpp_aborts():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        meaning.reach(address)
    with pytest.raises(Exception, match=f"No RPC server answers at {address}"):
        meaning.reach(address)
    for bad in ("localhost", ":50052", "host:port", "host:70000"):
        with pytest.raises(Exception, match=r"Write host:port"):
            meaning.reach(bad)


def test_overrides():
    lines = ("a.b=int:5", "c=bool:false", "d = float: 0.5", "e=str:x=y:z")
    assert meaning.overrides(lines) == {"a.b": 5, "c": False, "d": 0.5, "e": "x=y:z"}
    for bad in ("a", "a=5", "a=int:x", "a=bool:maybe", "=int:5", "a=int:" + "9" * 30):
        with pytest.raises(Exception, match=r"override"):
            meaning.overrides((bad,))


# --- in the engines ---------------------------------------------------------------------

ENGINES = pytest.mark.parametrize("name", ["xllamacpp", "xllamacpp-native"])
HARMLESS: list[dict[str, Any]] = [
    {"flash_attn": "on", "cache_type": "f32"},
    {"batch_size": 64, "ubatch_size": 16, "threads": 2, "threads_batch": 1},
    {"mmap": False, "gpu_layers": 0, "no_kv_offload": True, "cpu_moe": True},
    {"mmap": True, "mlock": True, "numa": True},
    {"tensor_split": "60,40", "split_mode": "none", "main_gpu": 0},
    {"parallel": 2, "cache_ram": 0},
]
"""Options with which the story stays what it is."""


@pytest.mark.engine
@ENGINES
async def test_options_reach_the_engine_and_the_story_stays(name: str, environments_dir: Path):
    async with engine("llama_cpp", environments_dir / name) as worker:
        for options in HARMLESS:
            info = await worker.load(MODEL, options)
            usual = 4 if name == "xllamacpp" else 16
            assert info.together == options.get("parallel", usual)
            assert (await ask(worker))[0] == STORY, options
        await worker.load(GUIDE, {"cache_type": "q8_0"})
        answer, _, _ = await ask(worker, messages=QUESTION)
        await worker.load(GUIDE, {})
        assert (await ask(worker, messages=QUESTION))[0][:20] == answer[:20] != ""
        await answers(worker)
        assert len(await worker.call("embed", texts=["Hi"])) == 1  # of a server of its own
        ports = open_ports(worker.pid)
        assert bool(ports) == (name == "xllamacpp")
        async with httpx.AsyncClient(trust_env=False) as stranger:
            for port, path, headers in itertools.product(ports, PATHS, WRONG):
                address = f"http://127.0.0.1:{port}{path}"
                answer = await stranger.post(address, json=SAID, headers=headers)
                assert answer.status_code in (401, 403), path


PATHS = ("/tokenize", "/completion", "/v1/chat/completions", "/embedding", "/slots/0?action=erase")
SAID = {"content": "Hi", "prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}
WRONG: list[dict[str, str]] = [{}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": ""}]


def open_ports(pid: int) -> list[int]:
    """Where a process and its children can be reached from this machine."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    connections = [each for process in processes for each in process.net_connections("inet")]
    listening = [each.laddr for each in connections if each.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} <= {"127.0.0.1"}
    return [address.port for address in listening]


TIGHT: list[tuple[dict[str, Any], str]] = [
    ({"context_length": 8}, ", there"),
    ({"context_length": 8, "parallel": 128}, ", there"),
    ({"batch_size": 32, "parallel": 128}, STORY),
]
"""Less room in the context, or in a step, than there may be replies; and what is said in it."""


@pytest.mark.engine
@ENGINES
async def test_less_room_than_replies_crashes_no_engine(name: str, environments_dir: Path):
    async with engine("llama_cpp", environments_dir / name) as worker:
        for options, words in TIGHT:
            info = await worker.load(MODEL, options)
            assert info.context_length == options.get("context_length", 2048)
            text, finish, _ = await ask(worker)
            assert (text.startswith(words), finish.reason) == (True, "length"), options
    async with engine("llama_cpp", environments_dir / name) as worker:
        await worker.load(MODEL, {"context_length": 1})
        with pytest.raises(WorkerError, match="context of this model 1"):
            await ask(worker)


@pytest.mark.parametrize(
    ("size", "wanted", "card", "read"),
    [
        (SMALL - 1, 512, False, 512),
        (SMALL, 512, False, 64),
        (SMALL, 32, False, 32),
        (SMALL, 512, True, 512),
    ],
)
def test_a_step_of_the_prebuilt_engine_is_short_on_a_processor(
    size: int, wanted: int, card: bool, read: int
):
    """It ends before anything else is heard: a cancel, or who else wants a token."""
    file = Gguf({}, {}, size)
    assert tokens_at_once(file, {"batch_size": wanted}, card=card) == read


STRETCHED: list[dict[str, Any]] = [
    {"rope_freq_base": 100.0},
    {"alpha_value": 20.0},
    {"compress_pos_emb": 8.0},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cache_type": "q8_0"}, "32, and this model's are 8 wide"),
    ({"lora": ["gone.gguf"]}, "no file gone.gguf"),
    ({"lora": [f"{MODEL}=0.5"]}, "no LoRA adapter"),
    ({"tensor_split": "0,0"}, "add up to nothing"),
    ({"override_kv": ["nonsense"]}, "override"),
    ({"rpc": ["127.0.0.1:9"]}, "without RPC|cannot do this: rpc"),
]


@pytest.mark.engine
@ENGINES
async def test_a_stretched_model_writes_other_words(name: str, environments_dir: Path):
    async with engine("llama_cpp", environments_dir / name) as worker:
        await worker.load(MODEL, {})
        plain, _, _ = await ask(worker, max_new_tokens=200)
        assert plain.startswith(STORY)
        for options in STRETCHED:
            info = await worker.load(MODEL, {**options, "context_length": 4096})
            assert info.context_length == 4096, "it may be longer than it was trained for"
            assert (await ask(worker, max_new_tokens=200))[0] != plain, options


@pytest.mark.engine
@ENGINES
async def test_what_cannot_be_is_refused_before_the_engine_sees_it(
    name: str, environments_dir: Path
):
    async with engine("llama_cpp", environments_dir / name) as worker:
        for options, words in REFUSED:
            with pytest.raises(WorkerError, match=words):
                await worker.load(MODEL, options)
        await worker.load(MODEL, {})
        assert (await ask(worker))[0] == STORY


@pytest.mark.engine
@ENGINES
async def test_going_on_past_the_context_is_done_or_refused_by_name(
    name: str, environments_dir: Path
):
    options = {"context_length": 512, "streaming_llm": True, "attention_sink_size": 4}
    async with engine("llama_cpp", environments_dir / name) as worker:
        if name == "xllamacpp":
            with pytest.raises(WorkerError, match="cannot do this: streaming_llm"):
                await worker.load(MODEL, options)
            return
        await worker.load(MODEL, options)
        text, _, _ = await ask(worker, max_new_tokens=700, ban_eos_token=True)
        assert len(text) > 700
        assert text.startswith(STORY)


@pytest.mark.engine
@ENGINES
async def test_a_value_of_the_file_is_overridden_or_refused_by_name(
    name: str, environments_dir: Path
):
    options = {"override_kv": ["llama.rope.freq_base=float:100.0"]}
    async with engine("llama_cpp", environments_dir / name) as worker:
        if name == "xllamacpp":
            with pytest.raises(WorkerError, match="cannot do this: override_kv"):
                await worker.load(MODEL, options)
            return
        await worker.load(MODEL, options)
        assert (await ask(worker))[0] != STORY


@pytest.mark.engine
@ENGINES
async def test_adapters_from_the_options_and_for_each_request(
    name: str, environments_dir: Path, tmp_path: Path
):
    one, two = make_lora(tmp_path / "one.gguf"), make_lora(tmp_path / "two.gguf", seed=2)
    async with engine("llama_cpp", environments_dir / name) as worker:
        info = await worker.load(MODEL, {"lora": [str(one), f"{two} = 0"]})
        assert "lora" in info.capabilities
        with_one, _, _ = await ask(worker)
        assert with_one != STORY
        asked = [((str(one), 1.0),), ((str(two), 1.0),), ((str(one), 0.0),), ()]
        replies = await asyncio.gather(*(ask(worker, adapters=each) for each in asked))
        first, second, none, default = [text for text, _, _ in replies]
        assert first == default == with_one
        assert none == STORY
        assert second not in (first, none)
        other = make_lora(tmp_path / "other.gguf", width=32)
        with pytest.raises(WorkerError, match=r"other\.gguf"):
            await ask(worker, adapters=((str(other), 1.0),))
        assert (await ask(worker))[0] == with_one


@pytest.mark.engine
@ENGINES
async def test_texts_become_vectors(name: str, environments_dir: Path):
    texts = ["Once upon a time", "The dog was happy", "Once upon a time", "A"]
    async with engine("llama_cpp", environments_dir / name) as worker:
        info = await worker.load(MODEL, {})
        assert "embeddings" in info.capabilities
        vectors = await worker.call("embed", texts=texts)
        assert [len(vector) for vector in vectors] == [64] * 4
        assert sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-4)
        assert vectors[0] == pytest.approx(vectors[2], abs=1e-4)
        assert sum(a * b for a, b in zip(vectors[0], vectors[1], strict=True)) < 0.99
        many = await worker.call("embed", texts=[f"{n} dogs" for n in range(40)])
        full = [f"{n} " + "word " * 8 for n in range(16)]
        assert len(await worker.call("embed", texts=full)) == 16
        assert len(await worker.call("embed", texts=["word " * 150])) == 1, "what was read before"
        alone = await worker.call("embed", texts=["7 dogs"])
        assert many[7] == pytest.approx(alone[0], abs=1e-3)
        for bad, words in ((["a", ""], "empty"), (["x " * 2000], "tokens|large|characters")):
            with pytest.raises(WorkerError, match=words):
                await worker.call("embed", texts=bad)
        assert (await ask(worker))[0] == STORY, "the context for replies is another one"


HEARD = """
import sys, types
for name in ("llama_cpp", "engine_kit"):  # Without what the server has of them.
    package = sys.modules[f"extensions.{name}"] = types.ModuleType(name)
    package.__path__ = [f"extensions/{name}"]
from extensions.llama_cpp.native.library import WARNING, Log
log = Log()
for line in sys.argv[1:]:
    log._hear(WARNING, line.encode() + b"\\n", None)
assert list(log.troubles) == sys.argv[1:]
"""


@pytest.mark.engine
def test_a_context_without_room_for_a_moment_is_no_warning(environments_dir: Path):
    said = (
        "decode: failed to find a memory slot for batch of size 5",
        "state_read_meta: failed to find 700 available cells in kv cache",
        "state_seq_set_data: error loading state: failed to restore kv cache",
        "decode: failed to compute",
    )
    command = [interpreter(environments_dir / "xllamacpp-native"), "-c", HEARD, *said]
    run = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, check=False)
    heard = run.stderr.decode().splitlines()
    assert heard == [*said[:-1], f"warning: {said[-1]}"]


class Server:
    """Makes a vector of every text, and counts how often it was asked."""

    asked = 0

    def handle_embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        return {"data": [{"embedding": [float(text)]} for text in body["input"]]}


def test_vectors_that_nobody_wants_any_more_are_not_made():
    vectors = Vectors(lambda key: None, cast(Any, None))
    vectors._server = server = Server()
    texts = [str(n) for n in range(200)]
    assert vectors.embed(texts, lambda: False) == [[float(n)] for n in range(200)]
    server.asked = 0
    with pytest.raises(Refused, match=STOPPED):
        vectors.embed(texts, lambda: server.asked == 2)
    assert server.asked == 2


@pytest.mark.engine
@ENGINES
async def test_an_rwkv_writes_together_what_it_writes_alone(
    name: str, environments_dir: Path, tmp_path: Path
):
    model = make_rwkv(tmp_path / "rwkv.gguf")
    async with engine("llama_cpp", environments_dir / name) as worker:
        info = await worker.load(model, {})
        assert info.context_length == 4096
        prompts = ["Once upon a time", "The dog", "Once upon a", "The dog"]
        alone = [(await ask(worker, prompt, ban_eos_token=True))[0] for prompt in prompts]
        together = await asyncio.gather(
            *(ask(worker, prompt, ban_eos_token=True) for prompt in prompts)
        )
        assert [text for text, _, _ in together] == alone
        assert alone[0] != alone[1]
        first = await ask(worker, "Once upon a time there was a little dog")
        again = await ask(worker, "Once upon a time there was a little dog")
        assert first[0] == again[0]
