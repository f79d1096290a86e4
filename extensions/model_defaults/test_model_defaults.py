"""A preset and a template that come with a model: saved beside it, from the form or by hand."""

from pathlib import Path
from typing import Any

import pytest

from extensions.models.api import BESIDE, MODELS
from extensions.parameters.api import PARAMETERS, STANDARDS
from extensions.prompts.api import PROMPTS, TEMPLATES
from kernel.api import LOADERS, Phase
from kernel.testing import App, Page, Scripted, ScriptedLoader, running


class Named(ScriptedLoader):
    """Its models are called like their files, and may bring a template."""

    id = label = "named"

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".gguf"

    async def open(self, path: Path, options: Any, report: Any) -> Scripted:
        model = await super().open(path, options, report)
        own = "{{ messages }}" if "own" in path.name else ""
        info = model.info.__class__(path.stem, "named", path=str(path), chat_template=own)
        model.info = info
        return model


async def having(app: App, *names: str, said: str = "") -> None:
    add = app.kernel.registry.add
    add(LOADERS, Named(Scripted("Hi.")), "kernel", phase=Phase.EARLY, rank=0, rewrites=False)  # type: ignore[arg-type]
    app.kernel.models.mkdir(parents=True, exist_ok=True)
    for name in names:
        (app.kernel.models / name).write_bytes(b"x")
    if said:
        (app.kernel.models / "config-user.yaml").write_text(said)
    await app.kernel.registry.values(MODELS)[0].look()


async def load(app: App, name: str, preset: str = "") -> str:
    """Load one; answers the template that comes with it, once the preset has come."""
    await app.kernel.registry.values(MODELS)[0].load(name)
    [parameters] = app.kernel.registry.values(PARAMETERS)
    await app.until(lambda: parameters._choices.now.model == Path(name).stem)
    await app.until(lambda: not preset or parameters._choices.now.preset == preset)
    return app.kernel.registry.values(PROMPTS)[0].chosen().name


async def form(app: App, name: str) -> Page:
    page = await app.open("/")
    await page.act("models.choose", file=name)
    await page.until("What comes with it")
    return page


IDS = ("models", "parameters", "prompts", "model_defaults")


async def test_what_the_form_says_comes_with_the_model():
    async with running(*IDS) as app:
        await having(app, "one.gguf", "two.gguf")
        page = await form(app, "one.gguf")
        await page.act(
            "models.load", file="one.gguf", preset="Shortwave", instruction_template="ChatML"
        )
        [parameters] = app.kernel.registry.values(PARAMETERS)
        await app.until(lambda: parameters._choices.now.preset == "Shortwave")
        text = (app.kernel.models / "config-user.yaml").read_text()
        assert "one.gguf$:\n  preset: Shortwave\n  instruction_template: ChatML\n" in text
        assert app.kernel.registry.values(PROMPTS)[0].chosen()[::2] == ("ChatML", "saved")
        assert await load(app, "two.gguf") == "Alpaca"
        await page.act("parameters.choose", preset="")
        assert await load(app, "one.gguf", "Shortwave") == "ChatML"
        await page.act("models.save", file="one.gguf", preset="", instruction_template="")
        text = (app.kernel.models / "config-user.yaml").read_text()
        assert "one.gguf" not in text


async def test_patterns_of_text_generation_webui_say_it_too():
    said = ".*llama:\n  instruction_template: Llama-v2\n  preset: Yara\nx: {}\n"
    async with running(*IDS) as app:
        await having(
            app, "llama-own.gguf", "llama.gguf", "vicuna.gguf", "vicuna-own.gguf", said=said
        )
        (app.kernel.models / "config.yaml").write_text(
            ".*vicuna:\n  instruction_template: Vicuna-v1.1\n"
            ".*llama:\n  instruction_template: Gemma\n"
        )
        assert await load(app, "llama-own.gguf", "Yara") == "Llama-v2", "ours goes before its own"
        assert await load(app, "vicuna.gguf") == "Vicuna-v1.1"
        assert await load(app, "vicuna-own.gguf") == "", "families do not"


async def test_what_was_chosen_elsewhere_goes_before_and_the_form_takes_its_place():
    async with running(*IDS) as app:
        await having(app, "one.gguf", said="one.gguf$:\n  preset: Yara\n")
        await load(app, "one.gguf", "Yara")
        page = await form(app, "one.gguf")
        await page.act("parameters.prefer", preset="Shortwave", model=True)
        await page.act("prompts.use", name="Gemma")
        assert app.kernel.registry.values(PROMPTS)[0].chosen()[::2] == ("Gemma", "set")
        await page.act("models.choose", file="one.gguf")
        await page.until('<option value="Shortwave" selected>.*<option value="Gemma" selected>')
        await page.act("models.save", file="one.gguf", preset="Yara", instruction_template="ChatML")
        assert app.kernel.registry.values(PROMPTS)[0].chosen()[::2] == ("ChatML", "saved")
        assert app.kernel.registry.values(PARAMETERS)[0].standard("one") == ""


@pytest.mark.parametrize("what", ["preset", "instruction_template"])
async def test_only_what_there_is_can_be_chosen(what: str):
    async with running(*IDS) as app:
        await having(app, "one.gguf")
        page = await form(app, "one.gguf")
        await page.act("models.save", file="one.gguf", **{what: "../../x"})
        await page.until("There is no .*Choose another one.")
        assert not (app.kernel.models / "config-user.yaml").exists()


async def test_a_template_that_the_model_brings_is_no_choice():
    said = "one.gguf$:\n  instruction_template: Custom (obtained from model metadata)\n"
    async with running(*IDS) as app:
        await having(app, "one.gguf", said=said)
        assert await load(app, "one.gguf") == "Alpaca"
        page = await form(app, "one.gguf")
        assert "obtained from" not in page.html


async def test_without_it_nothing_comes_with_a_model():
    async with running(*IDS) as app:
        await having(app, "one.gguf", said="one.gguf$:\n  instruction_template: ChatML\n")
        await app.toggle("model_defaults", on=False)
        values = app.kernel.registry.values
        assert (values(BESIDE), values(STANDARDS), values(TEMPLATES)) == ([], [], [])
        assert await load(app, "one.gguf") == "Alpaca"
