"""LoRA adapters of PEFT: each reply with its own, in one step, and what does not fit is refused."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from extensions.transformers.loader import adapter
from kernel.api import Refused, Worker, WorkerError
from tests.engines.real import ROOT, STORIES, STORY, ask, engine, interpreter

ADAPTER = STORIES.parent / "lora-stories260K"
GGUF = ADAPTER / "lora-shakespeare-f32.gguf"
LORA = ((str(ADAPTER), 1.0),)
WISH: dict[str, Any] = {"max_new_tokens": 200, "ban_eos_token": True}
real = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="package")]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """An adapter that a test may spoil."""
    return Path(shutil.copytree(ADAPTER, tmp_path / "copy", copy_function=shutil.copyfile))


def reconfigured(folder: Path, **said: Any) -> str:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    return str(folder)


@pytest.mark.long  # The loader llamacpp_HF compares the same, among others.
@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="package")
async def test_peft_and_gguf_write_the_same_text_in_every_engine(
    worker: Worker, environments_dir: Path, expected: Any
):
    torch, texts = environments_dir / "torch", dict[str, str]()
    interpreter(torch, "llama_cpp")
    native = environments_dir / "xllamacpp-native"
    gguf = ((str(GGUF), 1.0),)

    async def told(worker: Worker, lora: Any) -> str:
        text, finish, _ = await ask(worker, adapters=lora, **WISH)
        assert finish.usage.completion == 200
        assert (await ask(worker))[0] == STORY, "without it as before"
        return text

    texts["transformers"] = await told(worker, LORA)
    for id, environment in (("llama_cpp", native), ("llamacpp_hf", torch)):
        async with engine(id, environment) as other:
            await other.load(STORIES / "stories260K.gguf", {})
            texts[id] = await told(other, gguf)
    assert len(set(texts.values())) == 1
    assert texts["transformers"] == expected["adapted"]


@pytest.mark.engine
def test_rows_that_a_model_mixes_are_written_with_the_same_adapters(
    environments_dir: Path, tmp_path: Path
):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    header = (
        b'{"inner.lora_A.weight": {"dtype": "F32", "shape": [1, 64], "data_offsets": [0, 256]}, '
    )
    header += (
        b'"inner.lora_B.weight": {"dtype": "F32", "shape": [64, 1], "data_offsets": [256, 512]}}'
    )
    ones = b"\0\0\x80\x3f" * 128
    data = len(header).to_bytes(8, "little") + header + ones
    (tmp_path / "adapter_model.safetensors").write_bytes(data)
    script = ROOT / "tests" / "engines" / "flattened.py"
    said = subprocess.run(
        [interpreter(environments_dir / "torch"), script, ROOT, tmp_path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["True", "True", "False", "False", "True", "True"]


@pytest.mark.asyncio(loop_scope="package")
class TestRows:
    pytestmark = real

    async def test_each_reply_of_a_step_has_its_own(self, worker: Worker, copy: Path):
        other = ((reconfigured(copy, lora_alpha=4), 1.0),)
        half = ((str(ADAPTER), 0.5),)
        kinds = ((), LORA, half, other, (*LORA, *other), ((str(ADAPTER), 0.0),))
        alone = [(await ask(worker, adapters=each, max_new_tokens=60))[0] for each in kinds]
        assert len(set(alone)) >= 4
        assert alone[5] == alone[0]
        asked = [ask(worker, adapters=each, max_new_tokens=60) for each in kinds * 2]
        together = [text for text, _, _ in await asyncio.gather(*asked)]
        assert together == alone * 2

    async def test_what_was_read_with_one_is_not_taken_for_another(self, worker: Worker):
        prompt = "Sue had a blue hat. " * 4  # which no test beside this one asks
        first = (await ask(worker, prompt, adapters=LORA))[0]
        plain, finish, _ = await ask(worker, prompt)
        assert finish.usage.cached == 0
        again, finish, _ = await ask(worker, prompt, adapters=LORA)
        assert (again, finish.usage.cached > 0) == (first, True)
        assert plain != first

    async def test_a_scale_of_the_other_kind(self, worker: Worker, copy: Path):
        config = json.loads((copy / "adapter_config.json").read_text())
        alpha = config["lora_alpha"] / config["r"] * config["r"] ** 0.5
        path = reconfigured(copy, use_rslora=True, lora_alpha=alpha)
        text, _, _ = await ask(worker, adapters=((path, 1.0),), **WISH)
        assert text == (await ask(worker, adapters=LORA, **WISH))[0]

    async def test_what_is_none_or_another_models_costs_one_reply(
        self, worker: Worker, copy: Path, tmp_path: Path
    ):
        (pickled := tmp_path / "pickled").mkdir()
        shutil.copyfile(ADAPTER / "adapter_config.json", pickled / "adapter_config.json")
        (pickled / "adapter_model.bin").write_bytes(b"x")
        cut = Path(shutil.copytree(copy, tmp_path / "cut"))
        (cut / "adapter_model.safetensors").write_bytes(b"\x10" * 100)
        dora = reconfigured(copy, use_dora=True)
        for path, words in (
            (str(tmp_path / "none"), "has no adapter_config"),
            (str(pickled), "can run programs"),
            (str(cut), "cannot be loaded"),
            (dora, "DoRA"),
        ):
            with pytest.raises(WorkerError, match=words):
                await ask(worker, adapters=((path, 1.0),))
            with pytest.raises(WorkerError, match=words):
                await worker.call("adapters", paths=[path])
        assert (await ask(worker))[0] == STORY

    async def test_a_file_that_is_cut_short_after_it_was_read_ends_nothing(
        self, worker: Worker, copy: Path
    ):
        lora = ((str(copy), 1.0),)
        before = (await ask(worker, adapters=lora))[0]
        os.truncate(copy / "adapter_model.safetensors", 100)
        assert (await ask(worker, adapters=lora))[0] == before

    async def test_it_is_read_before_a_request_asks(self, worker: Worker):
        assert await worker.call("adapters") == {"own": [], "more": True}
        await worker.call("adapters", paths=[str(ADAPTER)])


def test_an_adapter_is_found_by_its_folder(tmp_path: Path):
    (tmp_path / "loras" / "deep" / "one").mkdir(parents=True)
    (tmp_path / "loras" / "deep" / "one" / "adapter_config.json").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "adapter_config.json").touch()
    (tmp_path / "loras" / "link").symlink_to(tmp_path / "outside")
    loras = tmp_path / "loras"
    assert adapter(loras, "deep/one") == str(loras / "deep" / "one")
    for name, words in (
        ("deep", "There is no adapter"),
        ("../outside", "cannot be the name"),
        ("link", "leads out"),
        ("", "cannot be the name"),
    ):
        with pytest.raises(Refused, match=words):
            adapter(loras, name)
