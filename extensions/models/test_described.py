"""What is read of a model's files, and which loader they are for, by the rules of every era."""
# ruff: noqa: E501, rows of forms

import asyncio
import importlib
import json
import os
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from extensions.models import detection, headers, rows, words, worker
from extensions.models.api import MODELS
from extensions.models.detection import Look
from extensions.models.files import ModelFile
from extensions.models.headers import Answer, Headers
from kernel.testing import App, Scripted, ScriptedLoader, running
from tests.ggufs import a_gguf

DATA = Path(__file__).parents[2] / "tests" / "data"


def read(path: Path) -> Answer:
    """As the process of its own would answer."""
    return msgspec.convert(worker.answer(str(path)), Answer)


def folder(root: Path, name: str, *files: str, **config: Any) -> Path:
    """A model's folder: tiny weights, and what config.json says."""
    path = root / name
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    for file in files:
        (path / file).write_bytes(safetensors() if file.endswith(".safetensors") else b"{}")
    return path


def safetensors(**tensors: tuple[str, list[int], int]) -> bytes:
    """A file; a tensor is given as its type, shape and bytes."""
    end, said = 0, dict[str, Any]()
    for name, (dtype, shape, size) in (tensors or {"a": ("F16", [2, 3], 12)}).items():
        said[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(said).encode()
    return struct.pack("<Q", len(head)) + head + bytes(end)


# --- the rules -----------------------------------------------------------------------------------

GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
FOLDERS = {
    # What lies in it and what config.json says: the loaders that it is for, best first.
    "Llama-3-8B": (["model.safetensors"], {}, "transformers"),
    "Llama-pickled": (["pytorch_model.bin"], {}, "transformers"),
    "Llama-2-7B-exl3-4bpw": (["model.safetensors"], {}, "exllamav3 exllamav3_hf"),
    "said-3": (["model.safetensors"], {"quantization_config": {"quant_method": "exl3"}},
               "exllamav3 exllamav3_hf"),
    "Llama-2-7B-4.0bpw-h6-exl2": (["output.safetensors"], {}, "exllamav2_hf exllamav2"),
    "said-2": (["output.safetensors"], {"quantization_config": {"quant_method": "exl2"}},
               "exllamav2_hf exllamav2"),
    "TheBloke_Llama-2-7B-GPTQ": (["model.safetensors", "quantize_config.json"], {},
                                 "exllamav2_hf autogptq gptq_for_llama"),
    "said-gptq": (["model.safetensors"], GPTQ, "exllamav2_hf autogptq gptq_for_llama"),
    "vicuna-13b-4bit-128g": (["vicuna.safetensors"], {}, "exllamav2_hf autogptq gptq_for_llama"),
    "vicuna": (["vicuna-4bit-128g.pt"], {}, "exllamav2_hf autogptq gptq_for_llama"),
    "Mistral-7B-awq": (["model.safetensors"], {}, "autoawq"),
    "with-quant_config": (["model.safetensors", "quant_config.json"], {}, "autoawq"),
    "said-awq": (["model.safetensors"], {"quantization_config": {"quant_method": "AWQ"}}, "autoawq"),
    "Mixtral-hqq": (["qmodel.pt"], {}, "hqq"),
    "said-hqq": (["model.safetensors"], {"quantization_config": {"quant_method": "hqq"}}, "hqq"),
    "Llama-2-70b-E8P-2Bit": (["model.safetensors"], {"quip_params": {}}, "quip"),
    "mlx-4bit-form": (["model.safetensors"], {"quantization": {"bits": 4, "group_size": 64}}, "mlx"),
    "raven": (["rwkv-4-raven-7b.pth"], {}, "rwkv"),
    "opt-30b-np": ([], {}, "flexgen"),
    "compiled": (["rank0.engine"], {}, "tensorrt_llm"),
    "converted": (["model.gguf", "tokenizer_config.json"], {}, "llamacpp_hf"),
    "converted-with-config": (["model.gguf", "tokenizer.json", "config.json"], {}, "llamacpp_hf"),
    "several-gguf": (["a.gguf", "b.gguf", "tokenizer.json", "config.json"], {}, ""),
    "bare-gguf": (["model.gguf"], {}, ""),
    "bare-gguf-with-config": (["model.gguf", "config.json"], {}, ""),
    "said-aqlm": (["model.safetensors"], {"quantization_config": {"quant_method": "aqlm"}}, ""),
    "unsloth-bnb-4bit": (["model.safetensors"], {"quantization_config": {"load_in_4bit": True}}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_for_the_loader_of_its_era(name: str):
    files, config, wanted = FOLDERS[name]
    has = frozenset(files) if "gguf" in wanted + name else frozenset([*files, "config.json"])
    found = detection.of_folder(Look(name, has, config))
    assert [each.loader for each in found] == wanted.split()
    assert all(each.label == detection.LABELS[each.loader] and each.why for each in found)


@pytest.mark.parametrize(
    ("name", "form", "wanted"),
    [
        ("x.Q4_K_M.gguf", "GGUF", "llama_cpp llamacpp_hf"),
        ("ggml-model-q4_0.bin", "GGML", "ctransformers"),
        ("RWKV-4-Pile-169M.pth", "pickle", "rwkv"),
        ("llama-7b-4bit-128g.safetensors", "safetensors", "gptq_for_llama"),
        ("llama-7b-4bit.pt", "pickle", "gptq_for_llama"),
        ("llama-7b.pt", "pickle", ""),
    ],
)
def test_a_file_is_for_the_loader_of_its_era(name: str, form: str, wanted: str):
    assert [each.loader for each in detection.of_file(name, form)] == wanted.split()


def test_what_nothing_takes_says_who_would():
    exl3 = detection.of_folder(Look("x-exl3", frozenset(["config.json"]), {}))
    said = "It is for ExLlamav3, which Spindle does not have. Look for the original weights, or"
    assert said in detection.missing(exl3, set())
    gguf = detection.of_file("x.gguf", "GGUF")
    off = detection.missing(gguf, {"llamacpp_hf"})
    assert off == "llamacpp_HF takes it, and is switched off. Switch it on in Settings."
    assert "No loader takes it" in detection.missing((), set())


# --- the facts -----------------------------------------------------------------------------------


def test_a_gguf_file_says_what_it_is(tmp_path: Path):
    keys = {
        "general.name": "Story\nteller", "general.file_type": 15, "llama.context_length": 4096,
        "general.license": "mit", "general.base_model.0.name": "Llama",
        "tokenizer.chat_template": "{{ '<|im_start|>' }}",
    }  # fmt: skip
    (tmp_path / "a.gguf").write_bytes(a_gguf(keys))
    said = read(tmp_path / "a.gguf")
    assert (said.form, said.role, said.trouble) == ("GGUF", "model", "")
    assert (said.title, said.architecture, said.quantization) == ("Story teller", "llama", "Q4_K_M")
    assert (said.parameters, said.context_length, said.layers) == (16, 4096, 1)
    assert (said.template, said.licence, said.base) == ("ChatML", "mit", "Llama")
    assert [each.loader for each in said.loaders] == ["llama_cpp", "llamacpp_hf"]


def test_without_a_file_type_the_tensors_tell(tmp_path: Path):
    (tmp_path / "a.gguf").write_bytes(a_gguf(tensors=[("blk.0.w", (32, 4), 1)]))
    assert read(tmp_path / "a.gguf").quantization == "F16"


def test_parts_of_a_gguf_are_one(tmp_path: Path):
    for part in (1, 2):
        keys = {"split.no": part - 1, "split.count": 2, "split.tensors.count": 2}
        made = a_gguf(keys, [(f"blk.{part - 1}.w", (4, 4), 0)])
        (tmp_path / f"a-0000{part}-of-00002.gguf").write_bytes(made)
    said = read(tmp_path / "a-00001-of-00002.gguf")
    assert (said.trouble, said.files, said.parameters) == ("", 2, 32)
    (tmp_path / "a-00002-of-00002.gguf").unlink()
    assert "is missing" in read(tmp_path / "a-00001-of-00002.gguf").trouble


def test_what_is_no_model_says_what_it_is(tmp_path: Path):
    for name, keys, role in (
        ("lora", {"general.type": "adapter"}, "adapter"),
        ("eyes", {"general.architecture": "clip"}, "projector"),
        ("matrix", {"general.type": "imatrix"}, "part"),
    ):
        (tmp_path / f"{name}.gguf").write_bytes(a_gguf(keys))
        said = read(tmp_path / f"{name}.gguf")
        assert (said.role, said.loaders) == (role, ())
        assert said.trouble.endswith(".")


def test_a_folder_says_what_it_is(tmp_path: Path):
    path = folder(
        tmp_path, "m", "model.safetensors", architectures=["LlamaForCausalLM"],
        text_config={"max_position_embeddings": 2048, "num_hidden_layers": 7},
        torch_dtype="bfloat16",
    )  # fmt: skip
    template = [{"name": "tool", "template": "x"}, {"name": "default", "template": "[INST]"}]
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    card = "---\nlicense: other\nlicense_name: llama3\nbase_model:\n- meta/Llama\n---\n# Words\n"
    (path / "README.md").write_text(card)
    said = read(path)
    assert (said.form, said.architecture, said.parameters) == ("safetensors", "LlamaForCausalLM", 6)
    assert (said.context_length, said.layers, said.quantization) == (2048, 7, "BF16")
    assert (said.template, said.licence) == ("Llama 2 or Mistral", "llama3")
    assert (said.base, said.trouble) == ("meta/Llama", "")
    (path / "chat_template.jinja").write_text("<start_of_turn>")
    assert read(path).template == "Gemma"


@pytest.mark.parametrize(
    ("config", "tensors", "wanted"),
    [
        (GPTQ, {"a.qweight": ("I32", [1, 8], 32), "a.scales": ("F16", [8], 16)}, (64, "GPTQ 4 bit")),
        ({"quantization_config": {"load_in_4bit": True}},
         {"a.weight": ("U8", [32], 32), "a.weight.absmax": ("F32", [1], 4)},
         (64, "bitsandbytes 4 bit")),
        ({}, {"a": ("F8_E4M3", [8], 8), "a_scale_inv": ("F32", [1], 4)}, (8, "FP8")),
        ({"quantization_config": {"quant_method": "exl3", "bits": 3.5}},
         {"a.trellis": ("I16", [4], 8)}, (7_000_000_000, "EXL3 3.5 bit")),
    ],
)  # fmt: skip
def test_packed_weights_count_as_what_they_were(
    tmp_path: Path, config: Any, tensors: Any, wanted: tuple[int, str]
):
    path = folder(tmp_path, "Some-7B", **config)
    (path / "model.safetensors").write_bytes(safetensors(**tensors))
    said = read(path)
    assert (said.parameters, said.quantization) == wanted


def test_pickles_are_named_and_never_opened(tmp_path: Path):
    path = folder(tmp_path, "old")
    proof = tmp_path / "ran"
    pickled = b"cos\nsystem\n(S'touch %s'\ntR." % str(proof).encode()
    (path / "pytorch_model.bin").write_bytes(b"\x80\x04" + pickled)
    said = read(path)
    assert said.form == "pickle"
    assert "a format that can run programs" in said.trouble
    alone = read(path / "pytorch_model.bin")
    assert (alone.form, "Convert it" in alone.trouble) == ("pickle", True)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("ggml-model-q4_0.bin", b"tjgg\3\0\0\0", "GGML file of 2023"),
        ("notes.bin", b"words", "no format that is known"),
        ("alone.safetensors", safetensors(), "weights alone"),
        ("cut.safetensors", safetensors()[:-4], "Download it again"),
        ("empty.gguf", b"", "too short"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why(tmp_path: Path, name: str, data: bytes, words: str):
    (tmp_path / name).write_bytes(data)
    assert words in read(tmp_path / name).trouble


def test_a_folder_of_pictures_or_an_adapter_is_no_model(tmp_path: Path):
    path = folder(tmp_path, "sd")
    (path / "model_index.json").write_text("{}")
    assert read(path).role == "pictures"
    path = folder(tmp_path, "lora")
    (path / "adapter_config.json").write_text('{"base_model_name_or_path": "meta/Llama"}')
    said = read(path)
    assert (said.role, said.base) == ("adapter", "meta/Llama")
    assert "Move it to loras/" in said.trouble


def test_a_gguf_file_with_a_tokenizer_beside_it_says_what_the_folder_is(tmp_path: Path):
    path = folder(tmp_path, "hf", "tokenizer.json", max_position_embeddings=512, torch_dtype="x")
    said = {"llama.context_length": 2048, "general.file_type": 1, "general.name": "Told"}
    (path / "m.gguf").write_bytes(a_gguf(said))
    (path / "chat_template.jinja").write_text("<start_of_turn>")
    (path / "README.md").write_text("---\nlicense: mit\n---\n")
    seen = read(path)
    assert [each.loader for each in seen.loaders] == ["llamacpp_hf"]
    assert (seen.form, seen.quantization, seen.context_length) == ("GGUF", "F16", 2048)
    assert (seen.title, seen.architecture, seen.parameters) == ("Told", "llama", 16)
    assert (seen.template, seen.licence, seen.trouble) == ("Gemma", "mit", "")
    (path / "m.gguf").write_bytes(a_gguf(said, cut=9))
    assert "ends 9 bytes after" in read(path).trouble
    (path / "m.gguf").write_bytes(a_gguf({"general.type": "adapter"}))
    seen = read(path)
    assert (seen.role, seen.loaders) == ("adapter", ())


def test_programs_that_a_folder_brings_are_seen(tmp_path: Path):
    path = folder(tmp_path, "m", "model.safetensors", auto_map={"AutoModel": "m.M"})
    assert read(path).programs == "config.json"
    (path / "config.json").write_text("{}")
    assert read(path).programs == ""
    (path / "tokenizer_config.json").write_text('{"chat_template": "\\"auto_map\\""}')
    assert read(path).programs == "", "words of a template are no key"
    (path / "tokenizer_config.json").write_text('{"auto_map": {}}')
    assert read(path).programs == "tokenizer_config.json"


@pytest.mark.parametrize(
    "config", ["[]", "[" * 100_000, '{"a": ', "\0", json.dumps({"architectures": [[["x"]]]}),
               json.dumps({"quantization_config": ["gptq"], "quantization": 4, "text_config": "x",
                           "max_position_embeddings": -1, "torch_dtype": {"a": 1},
                           "architectures": {"x": 1}, "num_hidden_layers": 1e300})],
)  # fmt: skip
def test_a_strange_configuration_is_no_trouble(tmp_path: Path, config: str):
    path = folder(tmp_path, "m", "model.safetensors", "tokenizer_config.json")
    (path / "config.json").write_text(config)
    (path / "tokenizer_config.json").write_text('{"chat_template": [1, {"template": 3}]}')
    said = read(path)
    assert (said.form, said.context_length, said.layers) == ("safetensors", 0, 0)


def test_names_of_sizes():
    assert words.size_in_name("Llama-3.1-8B_Instruct") == 8_000_000_000
    assert words.size_in_name("SmolLM-135M") == 135_000_000
    assert words.size_in_name("v2B3") == 0
    for count, wanted in ((8_030_000_000, "8.03B"), (260_032, "260K"), (999, "999"), (0, "")):
        assert rows.in_words(count) == wanted


# --- the process ---------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory are the system's")
def test_a_header_that_eats_memory_costs_its_process_alone(tmp_path: Path):
    lists = ["a", "b"]
    made = b"GGUF" + struct.pack("<IQQ", 3, 0, len(lists))
    for name in lists:  # Numbers that Python keeps as objects of their own: 32 times as much.
        made += struct.pack("<Q", len(name)) + name.encode()
        made += struct.pack("<IIQ", 9, 5, 7_000_000) + os.urandom(1000) * 28_000
    (tmp_path / "greedy.gguf").write_bytes(made)
    (tmp_path / "good.gguf").write_bytes(a_gguf())
    reader = Headers()
    try:
        assert "too much memory" in reader.read(tmp_path / "greedy.gguf").trouble
        assert reader.read(tmp_path / "good.gguf").trouble == ""
    finally:
        reader.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no such files")
def test_a_header_that_never_ends_is_given_up(tmp_path: Path):
    (tmp_path / "good.gguf").write_bytes(a_gguf())
    os.mkfifo(tmp_path / "pipe.gguf")  # Opening it waits for a writer, for ever.
    reader = Headers(seconds=1.0)
    try:
        began = time.monotonic()
        said = reader.read(tmp_path / "pipe.gguf")
        assert (said.trouble, said.passing) == (headers.GAVE_UP, True), "a disk may have slept"
        assert time.monotonic() - began < 10
        reader.seconds = 60  # a busy machine takes its time to start one
        assert reader.read(tmp_path / "good.gguf").trouble == ""
    finally:
        reader.close()
    assert reader.read(tmp_path / "good.gguf").passing, "it starts no process any more"


# --- what is kept --------------------------------------------------------------------------------


class OnlyGguf(ScriptedLoader):
    """Takes .gguf files."""

    id = label = "llama_cpp"

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf"


def put(app: App, name: str, data: bytes, at: float = 0) -> Path:
    """A file that was written a while ago; it comes with that time, for it may be read at once."""
    path, draft = app.kernel.models / name, app.kernel.data / "draft"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.write_bytes(data)
    at = at or time.time() - 60
    os.utime(draft, (at, at))
    return draft.replace(path)


async def test_what_was_read_is_kept_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for turn in range(2):
        read = list[str]()
        async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
            noting(monkeypatch, read)
            for name, title in (("a.gguf", "First"), ("b.gguf", "Second")):
                put(app, name, a_gguf({"general.name": title}), at=1)
            page = await app.open("/models")
            await page.until("a.gguf.*llama · 16 · F32")
            [models] = app.kernel.registry.values(MODELS)
            said = await models.describe("a.gguf")
            assert said
            assert (said.name, said.title) == ("a.gguf", "First")
            assert await models.describe("gone.gguf") is None
            if turn:
                put(app, "b.gguf", a_gguf({"general.name": "Third"}))
                await models.look()
                said = await models.describe("b.gguf")
                assert said
                assert said.title == "Third"
            await app.until((app.kernel.data / "state/models/described.msgpack").exists)
        assert {*read} == ({"b.gguf"} if turn else {"a.gguf", "b.gguf"})


def noting(monkeypatch: pytest.MonkeyPatch, read: list[str]) -> None:
    """Note which headers are read: the class is another one after each start."""
    kind = importlib.import_module("extensions.models.headers").Headers
    before = kind.read

    def noted(self: Headers, path: Path) -> Any:
        read.append(path.name)
        return before(self, path)

    monkeypatch.setattr(kind, "read", noted)


async def test_a_file_on_its_way_is_looked_at_again(monkeypatch: pytest.MonkeyPatch):
    async with running("models", model=Scripted("Hi.")) as app:
        # A busy machine takes more than the five seconds until it looks at a new file.
        catalogue = importlib.import_module("extensions.models.catalogue")
        monkeypatch.setattr(catalogue, "GROWING", 600)
        whole = a_gguf({"general.name": "Late"})
        late = put(app, "late.gguf", whole[:-40], at=time.time())
        cut = put(app, "cut.gguf", whole[:-40], at=time.time())
        page = await app.open("/models")
        await page.until("cut.gguf.*It is being written, or was cut off.*late.gguf.*It is being")
        late.write_bytes(whole)
        os.utime(cut, (1, 1))
        page = await app.open("/models")
        await page.until("late.gguf.*llama · 16")
        await page.until("cut.gguf.*Download it again")


async def test_a_model_whose_header_could_not_be_read_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with running("models", "llama_cpp", data=tmp_path) as app:
        headers, read = importlib.import_module("extensions.models.headers"), list[str]()
        noting(monkeypatch, read)
        start = headers.start

        def killed() -> Any:
            monkeypatch.setattr(headers, "start", start)
            (child := start()).kill()
            return child

        monkeypatch.setattr(headers, "start", killed)
        put(app, "good.gguf", a_gguf({"general.name": "Good"}), at=1)
        page = await app.open("/models")
        await page.until("good.gguf.*was cut short. It is tried again later")
        [models] = app.kernel.registry.values(MODELS)
        said = await models.describe("good.gguf")
        assert said
        assert (said.trouble, read) == (headers.GAVE_UP, ["good.gguf"]), "not at every look"
        kept = app.kernel.data / "state/models/described.msgpack"
        await app.until(lambda: not models._catalogue.busy)
        assert not kept.exists(), "that is nothing to be kept"
        await app.until(lambda: not models._views._untold)  # Else it is read for the new list.
        models._catalogue._next["good.gguf"] -= 60  # A minute passes.
        page = await app.open("/models")
        await page.until("good.gguf.*llama · 16")
        await app.until(kept.exists)
        assert b"good.gguf" in kept.read_bytes()


async def test_a_header_that_can_never_be_read_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    catalogue, wrote = importlib.import_module("extensions.models.catalogue"), list[Path]()
    answer = Answer(trouble=headers.GAVE_UP, passing=True)
    monkeypatch.setattr(catalogue.Headers, "read", lambda self, path: answer)
    monkeypatch.setattr(catalogue, "write", lambda file, data: wrote.append(file))

    async def thread(call: Any, *args: Any) -> Any:
        return call(*args)

    async def changed() -> None:
        """Nobody looks."""

    ext = SimpleNamespace(
        data=tmp_path, thread=thread, spawn=lambda work, name: asyncio.ensure_future(work)
    )
    known = catalogue.Catalogue(ext, changed)
    for stamp, rounds in ((1, 9), (2, 2)):
        pauses = list[int]()
        for _ in range(rounds):
            await known.refresh([ModelFile("a.gguf", tmp_path / "a.gguf", (), 9, stamp)])
            await known._reading
            pauses.append(round((known._next["a.gguf"] - time.monotonic()) / 60))
            known._next["a.gguf"] = 0
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60][:rounds], "anew where the file changed"
    assert not wrote
    answer = Answer(title="Read")
    for stamp in (2, 2, 3):
        await known.refresh([ModelFile("a.gguf", tmp_path / "a.gguf", (), 9, stamp)])
        await known._reading
    assert len(wrote) == 2, "what is known did not change"
