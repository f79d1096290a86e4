"""Adapters by name, and what a model leaves behind when it goes."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from extensions.llama_cpp.loader import PATIENCE, LlamaLoader, LlamaModel, adapter
from extensions.llama_cpp.options import Options
from kernel.api import Refused, Request, Sampling
from kernel.contract import ModelInfo
from tests.engines.real import STORIES, STORY, engine

LORAS = STORIES.parent / "lora-stories260K"
NAME = "lora-shakespeare-f32"


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.gguf").touch()
    (tmp_path / "deep" / "weights.gguf").touch()
    (tmp_path.parent / "outside.gguf").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [("one", "one.gguf"), ("one.gguf", "one.gguf"), ("deep", "deep/weights.gguf")],
)
def test_an_adapter_is_found_by_its_name(loras: Path, name: str, file: str):
    assert adapter(loras, name) == str(loras / file)


def test_a_link_to_an_adapter_is_called_as_the_engine_calls_what_it_loaded(loras: Path):
    (loras / "near.gguf").symlink_to(loras / "one.gguf")
    assert adapter(loras, "near") == str((loras / "one.gguf").resolve())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two", "There: deep/weights.gguf, one.gguf."),
        ("../outside.gguf", "cannot be the name"),
        ("/etc/passwd", "cannot be the name"),
        ("", "cannot be the name"),
    ],
)
def test_an_adapter_that_is_not_there_is_refused(loras: Path, name: str, words: str):
    with pytest.raises(Refused, match=words):
        adapter(loras, name)
    with pytest.raises(Refused, match="Put one there"):
        adapter(loras / "deep" / "none", "two")


async def test_adapters_of_the_load_can_be_switched_off_when_their_files_are_gone(loras: Path):
    asked: list[Request] = []
    worker: Any = Mock(generate=lambda request, *_: asked.append(request))
    model = LlamaModel(worker, ModelInfo("one", capabilities=("text", "lora")))
    model.loras, model.own = loras, (str(loras / "two.gguf"),)
    for adapters in ((("two", 0.0),), (("two", 0.0), ("one", 0.5))):
        model.generate(Request(prompt="", adapters=adapters))
    assert [request.adapters for request in asked] == [
        ((str(loras / "two.gguf"), 0.0),),
        ((str(loras / "one.gguf"), 0.5),),
    ]
    with pytest.raises(Refused, match="There is no adapter “two”"):
        model.generate(Request(prompt="", adapters=(("two", 0.5),)))


class Hung:
    """A worker whose engine answers nothing any more."""

    def __init__(self) -> None:
        self.died, self.closed = asyncio.Future[str](), False
        self.called = asyncio.Event()

    async def load(self, path: Path, options: Any, report: Any) -> ModelInfo:
        return ModelInfo("hung", capabilities=("text", "state"))

    async def call(self, name: str, **data: Any) -> None:
        self.called.set()
        await asyncio.Future[None]()

    async def close(self, grace: float = 3) -> None:
        self.closed = True


async def test_an_engine_that_hangs_is_ended_with_its_model(tmp_path: Path):
    worker: Any = Hung()
    model = LlamaModel(worker, ModelInfo("hung"))
    model.states = tmp_path
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):  # as the kernel does, later
            await model.close()
    assert worker.closed
    closing = 10.0  # seconds that the kernel waits; a worker is given three, its killing takes one
    assert closing > PATIENCE + 4


async def test_a_load_that_is_given_up_while_it_reads_the_cache_leaves_no_engine(tmp_path: Path):
    worker = Hung()
    ext: Any = Mock(loras=tmp_path, data=tmp_path, worker=AsyncMock(return_value=worker))
    loader = LlamaLoader(
        ext, id="llama_cpp", label="llama.cpp", engine="", Options=Options, accepts=Path.is_file
    )
    options = Options(keep_cache=True)
    opening = asyncio.create_task(loader.open(tmp_path / "m.gguf", options, lambda *_: None))
    await worker.called.wait()
    assert not worker.closed
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert worker.closed


@pytest.mark.engine
async def test_a_model_takes_adapters_by_name_and_keeps_what_it_read(
    environments_dir: Path, tmp_path: Path
):
    environment = environments_dir / "xllamacpp-native"
    texts: list[str] = []
    for _ in range(2):
        async with engine("llama_cpp", environment) as worker:
            info = await worker.load(STORIES / "stories260K.gguf", {})
            model = LlamaModel(worker, info)
            model.loras, model.states = LORAS, tmp_path
            restored = await worker.call("restore", folder=str(tmp_path))
            sampling = Sampling(temperature=0.0, max_new_tokens=24)
            prompt = "Once upon a time" * (1 + restored)
            for adapters in ((), ((NAME, 1.0),)):
                reply = model.generate(Request(prompt=prompt, sampling=sampling, adapters=adapters))
                texts.append("".join([delta.text async for delta in reply]))
            await model.close()
    assert texts[0] == STORY != texts[1]
    assert len(list(tmp_path.glob("*.states"))) == 1  # noqa: ASYNC240
