"""The same adapter in both forms, applied in the page's way: every engine writes the same."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from extensions.loras.api import LORAS, Loras
from extensions.models.api import MODELS
from kernel.api import LOADERS, Refused, Sampling
from kernel.testing import App, running
from tests.engines.real import STORIES, STORY, interpreter
from tests.engines.tiny import make_lora

pytestmark = pytest.mark.engine
LORA = STORIES.parent / "lora-stories260K"
ENGINES: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    # who: extension, environment, model, adapter, options
    "native": ("llama_cpp", "xllamacpp-native", "one.gguf", "bard", {"engine": "native"}),
    "prebuilt": ("llama_cpp", "xllamacpp", "one.gguf", "bard", {"engine": "prebuilt"}),
    "llamacpp_hf": ("llamacpp_hf", "torch", "one.gguf", "bard", {}),
    "transformers": ("transformers", "torch", "hf", "plays", {"dtype": "float32"}),
}
SLOW = ("llamacpp_hf", "transformers")
"""Their processes take seconds to start; their own tests apply adapters, too."""
ADAPTED = ", animals,\nAnnals,\nAnnals,"
"""How both files make the model go on; `test_the_same_200_tokens_from_three_loaders` of the
extension llamacpp_hf compares more."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    models, loras = tmp_path / "models", tmp_path / "loras"
    models.mkdir()
    shutil.copyfile(STORIES / "stories260K.gguf", models / "one.gguf")
    shutil.copytree(STORIES / "hf", models / "hf")
    shutil.copytree(LORA, loras / "plays", ignore=shutil.ignore_patterns("*.gguf"))
    shutil.copyfile(LORA / "lora-shakespeare-f32.gguf", loras / "bard.gguf")
    make_lora(loras / "wide.gguf", width=32)
    return tmp_path


async def said(app: App) -> str:
    sampling = Sampling(temperature=0.0, max_new_tokens=24)
    return await app.say("Once upon a time", sampling=sampling)


@asynccontextmanager
async def loaded(
    who: str, data: Path, environments_dir: Path, **options: Any
) -> AsyncIterator[tuple[App, Loras]]:
    """A server whose model an engine has loaded."""
    extension, environment, model, _, usual = ENGINES[who]
    python = interpreter(environments_dir / environment)
    settings = {"models": {"at_start": False}}
    more = {"python": python, "data": data, "settings": settings}
    async with running("loras", extension, **more) as app:
        [models] = app.kernel.registry.values(MODELS)
        [loras] = app.kernel.registry.values(LORAS)
        for loader in app.kernel.registry.values(LOADERS):
            cast(Any, loader).before = None  # The environment is there: nothing is compiled.
        await models.look()
        await models.load(model, extension, {**usual, **options})
        yield app, loras


@pytest.mark.parametrize(
    "who",
    [pytest.param(who, marks=[pytest.mark.long] if who in SLOW else []) for who in ENGINES],
)
async def test_it_is_applied_weighted_and_removed(who: str, data: Path, environments_dir: Path):
    _, _, model, name, _ = ENGINES[who]
    async with loaded(who, data, environments_dir) as (app, loras):
        process = app.kernel.slot().model
        assert await said(app) == STORY
        for foreign in ("wide", "plays" if model == "one.gguf" else "bard"):
            with pytest.raises(
                Refused, match=r"does not fit this model|and the loaded model takes"
            ):
                await loras.apply([(foreign, 1.0)])
        await loras.apply([(name, 1.0)], reload=True)
        whole = await said(app)
        await loras.apply([(name, 0.0)])
        assert await said(app) == STORY
        await loras.apply([(name, 0.3)])
        assert await said(app) not in (whole, "")
        await loras.apply([(name, 1.0)])
        assert await said(app) == whole == ADAPTED
        await loras.apply([])
        assert await said(app) == STORY
        assert (app.kernel.slot().model is process) == (who != "prebuilt")


@pytest.mark.parametrize("who", ["native", "prebuilt"])
async def test_one_of_the_load_stays_switched_off_when_its_file_goes(
    who: str, data: Path, environments_dir: Path
):
    name = ENGINES[who][3]
    async with loaded(who, data, environments_dir, lora=[name]) as (app, loras):
        assert await said(app) == ADAPTED
        await loras.apply([])
        (data / "loras" / f"{name}.gguf").unlink()
        assert await said(app) == STORY
