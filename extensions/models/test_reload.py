"""A model that is loaded again with other options, for an extension that needs it so."""

from pathlib import Path
from typing import Any, cast

import pytest

from extensions.models.api import MODELS
from kernel.api import LOADERS, Loader, Phase, Refused, Struct
from kernel.testing import App, Scripted, ScriptedLoader, running


class Options(Struct, frozen=True):
    """Two to choose."""

    speed: int = 1
    lora: tuple[str, ...] = ()


class Choosy(ScriptedLoader):
    """Keeps the options that it was given."""

    id = label = "choosy"
    Options = Options
    given: Any = None

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf"

    async def open(self, path: Path, options: Any, report: Any) -> Scripted:
        self.given = options
        return await super().open(path, options, report)


def choosy(app: App, model: Scripted) -> Choosy:
    """It loads this model, whose file is there."""
    loader, add = Choosy(model), app.kernel.registry.add
    add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
    app.kernel.models.mkdir(exist_ok=True)
    (file := app.kernel.models / "one.gguf").write_bytes(b"x")
    model.info = model.info.__class__("one", loader="choosy", path=str(file))
    return loader


async def test_it_keeps_the_options_that_were_chosen():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        [models] = app.kernel.registry.values(MODELS)
        with pytest.raises(Refused, match="Load it by hand"):
            await models.reload({"lora": ["a"]})
        loader = choosy(app, model)
        await models.look()
        await models.load("one.gguf", "choosy", {"speed": 2})
        await models.reload({"lora": ["a"]})
        assert loader.given == Options(2, ("a",))
        await models.reload({"lora": []})
        assert loader.given == Options(2)


async def test_options_of_that_load_alone_are_not_saved_with_what_was_changed():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        [models] = app.kernel.registry.values(MODELS)
        loader = choosy(app, model)
        await models.look()
        await models.load("one.gguf", "choosy", {"speed": 2})
        await models.reload({"lora": ["a"]})
        await models.load("one.gguf")
        assert loader.given == Options(1, ("a",))
