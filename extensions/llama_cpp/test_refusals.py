"""What a load would refuse is told before one is begun; an adapter that is gone stops none."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import Memory
from extensions.llama_cpp.refusals import instead, refuse
from extensions.llama_cpp.test_memory import model
from kernel.api import LOADERS, ModelInfo, Refused, WorkerLoader
from kernel.testing import App, running
from tests.engines.larger import make
from tests.engines.real import STORIES
from tests.engines.tiny import make_lora

GB = 10**9
OWN = Memory("", 16 * GB, 32 * GB)


def filled(app: App) -> Path:
    """A model below models/, and adapters, one of which fits."""
    models, loras = app.kernel.models, app.kernel.loras
    for folder in (models, loras):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STORIES / "stories260K.gguf", models / "stories.gguf")
    make_lora(loras / "noise.gguf")
    make_lora(loras / "wide.gguf", width=32)
    return models / "stories.gguf"


def loader_of(app: App, monkeypatch: pytest.MonkeyPatch, variant: str) -> Any:
    ext = app.extension("llama_cpp")
    monkeypatch.setattr(type(ext), "variant", variant)
    return ext.one(LOADERS)


@pytest.mark.parametrize(
    ("variant", "options", "said"),
    [
        ("", {"mmproj": "eyes.gguf"}, "There is no file eyes.gguf. Give its whole path"),
        ("", {"mmproj": "stories.gguf"}, "is no mmproj file"),
        ("", {"lora": ("wide",)}, "wide.gguf does not fit this model"),
        ("", {"rpc": ("a:1",), "streaming_llm": True}, "cannot do this: rpc, streaming_llm."),
        ("", {"override_kv": ("a=int:1",)}, "The prebuilt engine cannot do this: override_kv."),
        ("native", {"override_kv": ("a=int:1",)}, ""),
        ("native", {"override_kv": ("a",)}, "'a' is no override"),
        ("native", {"override_kv": ("a=int:1",), "engine": "prebuilt"}, "The prebuilt engine"),
        ("", {"engine": "native"}, "The native engine is not in use. Build or choose it"),
        ("native", {"engine": "native", "mmproj": "eyes.gguf"}, "Let the engine be auto."),
        ("", {"tensor_split": "0,0"}, "add up to nothing"),
        ("", {"lora": ("noise = 0.5",)}, ""),
    ],
)
async def test_the_fit_says_what_the_load_would_refuse(
    variant: str, options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
):
    async with running("llama_cpp", "engine_kit") as app:
        path, loader = filled(app), loader_of(app, monkeypatch, variant)
        given = loader.Options(**options)
        fit = loader.weigh(path, given, [OWN])
        assert said in fit.said
        assert (fit.verdict, bool(fit.shares)) == (("not", False) if said else ("fits", True))
        if said:
            with pytest.raises(Refused) as refusal:
                loader.refuse(path, given)
            assert str(refusal.value) == fit.said


def test_a_quantized_cache_without_flash_attention_is_refused():
    with pytest.raises(Refused, match="needs flash attention"):
        refuse(model(), STORIES, {"cache_type": "q8_0", "flash_attn": "off"}, prebuilt=True)


async def test_heads_that_the_cache_type_cannot_cut_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = make(tmp_path, "15m")
    async with running("llama_cpp", "engine_kit") as app:
        loader = loader_of(app, monkeypatch, "")
        for kind, verdict in (("q8_0", "not"), ("f32", "fits")):
            fit = loader.weigh(path, loader.Options(cache_type=kind, context_length=512), [OWN])
            assert fit.verdict == verdict
            assert ("are 48 wide. Take f16." in fit.said) == (verdict == "not")


async def test_what_a_load_leaves_out_is_told(
    monkeypatch: pytest.MonkeyPatch,
):
    opened, told = list[Any](), list[str]()

    class Opened:
        worker = None
        info = ModelInfo("stories", context_length=2048)
        own: Any = ()

    async def open(self: Any, path: Path, options: Any, report: Any) -> Any:
        opened.append(options.lora)
        return Opened

    async with running("llama_cpp", "engine_kit") as app:
        path, loader = filled(app), loader_of(app, monkeypatch, "")
        monkeypatch.setattr(WorkerLoader, "open", open)
        own = loader.open.__globals__  # An earlier test may have loaded the extension anew.
        monkeypatch.setitem(own, "LlamaModel", lambda worker, info: Opened)
        monkeypatch.setattr(
            type(app.extension("llama_cpp")),
            "tell",
            lambda ext, text, to, kind="": told.append(text),
        )
        options = loader.Options(lora=("noise = 0.5", "gone = 2", "away.gguf"))
        await loader.open(path, options, None)
        assert opened == [(f"{app.kernel.loras / 'noise.gguf'} = 0.5",)]
        assert [*Opened.own] == [str(app.kernel.loras / "noise.gguf")]
        assert told == [
            "stories was loaded without the adapters gone, away.gguf, which are not below loras/. "
            "Put them there, or take them out of the option LoRA."
        ]
        fit = loader.weigh(path, options, [OWN])
        assert fit.verdict == "fits"
        assert "tokens. It loads without the adapters gone, away.gguf, which are not" in fit.said
        loader.refuse(path, options)
        await loader.open(path, loader.Options(lora=("noise",), context_length=2048), None)
        assert len(told) == 1, "there is nothing to tell"
        await loader.open(path, loader.Options(context_length=2049), None)
        short = (
            "stories was loaded with a context of 2,048 tokens. It reaches no further: 2,049 "
            "tokens were wanted. Alpha value, position divisor or RoPE base stretch it."
        )
        assert told[1:] == [short]
        await loader.open(path, loader.Options(context_length=2049), None)
        assert told[1:] == [short], "it came back, nobody chose it anew"
        await loader.open(path, loader.Options(context_length=2048), None)
        await loader.open(path, loader.Options(context_length=2049), None)
        assert told[1:] == [short, short]


@pytest.mark.parametrize(
    ("lacks", "images", "built", "said"),
    [
        (["top_a", "tfs"], False, False, "The native engine can: build or choose it in Settings"),
        (["processors"], False, True, "The native engine can: load the model with the engine auto"),
        (["top_a", "penalty_alpha"], False, False, ""),
        (["top_a"], True, False, ""),
    ],
)
def test_the_native_engine_is_named_where_it_is_the_way_out(
    lacks: list[str], images: bool, built: bool, said: str
):
    found = ModelInfo("tiny", instead=instead(images=images, built=built)).way(lacks)
    assert found.startswith(said)
    assert bool(found) == bool(said)
