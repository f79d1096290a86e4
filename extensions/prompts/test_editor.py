"""The page of instruction templates: a preview, and templates that are kept, chosen and deleted."""

import time
from typing import Any

import pytest
from msgspec import structs

from extensions.prompts.api import PROMPTS, TEMPLATES, Beside
from kernel.api import Phase
from kernel.testing import App, Page, Scripted, running

HOSTILE = {
    "D35 what is not a conversation": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "D35 the system": "{{ cycler.__init__.__globals__.os.popen('touch /tmp/owned') }}",
    "D36 without end": "{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2,
    "D37 without bounds": "{{ 'x' * 10**10 }}",
}  # fmt: skip


async def opened(app: App) -> Page:
    return await app.open("/settings/prompts")


async def told(page: Page, pattern: str, action: str, **values: Any) -> str:
    """What the page is sent after an action."""
    _, page.html = page.html, ""
    await page.act(f"prompts.{action}", **values)
    return await page.until(pattern)


async def test_a_preview_says_what_a_conversation_becomes():
    async with running("prompts", "settings", model=Scripted()) as app:
        page = await opened(app)
        source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<b>"
        said = "&lt;system&gt;You are a librarian.&lt;user&gt;Is the library open"
        html = await told(page, said + ".*?A reply ends at.*?</p>", "preview", source=source)
        assert "<b>" not in html
        await told(page, "There is nothing to show", "preview", source=" ")


async def test_a_preview_shows_the_letters_at_which_a_reply_ends():
    async with running("prompts", "settings", model=Scripted()) as app:
        page = await opened(app)
        source = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}</s>{% endfor %}"
        html = await told(page, "A reply ends at.*?</p>", "preview", source=source)
        assert '<code>"&lt;/s&gt;' in html
        assert "\\u003c" not in html


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_template_is_a_sentence(what: str):
    async with running("prompts", "settings", model=Scripted()) as app:
        page, begun = await opened(app), time.monotonic()
        await told(page, "alert.>This chat template", "preview", source=HOSTILE[what])
        assert time.monotonic() - begun < 10, "two seconds, on a busy machine"
        source = "{% for m in messages %}{{ m.content }}{% endfor %}"
        await told(
            page, "<code>You are a librarian.\\s*Is the library open", "preview", source=source
        )


async def test_a_template_is_kept_chosen_for_the_model_and_deleted_with_a_way_back():
    model = Scripted(chat_template="")
    async with running("prompts", "settings", model=model) as app:
        page = await opened(app)
        prompts = app.kernel.registry.values(PROMPTS)[0]
        assert prompts.chosen().how == "guess"
        await told(page, "“Mine” was saved", "save", name="Mine", source="mine")
        await told(page, "as you chose", "use", name="Mine")
        chosen = prompts.chosen()
        assert (chosen.name, chosen.source, chosen.how) == ("Mine", "mine", "set")
        html = await told(page, "moved to the trash.*?</button>", "delete", name="Mine")
        assert "Undo" in html
        assert prompts.chosen().how == "guess", "what is gone is not chosen"
        [kept] = (app.kernel.data / "instruction-templates" / ".trash").iterdir()
        await told(page, "prompts-editor", "restore", kept=kept.name)
        assert prompts.chosen().source == "mine"
        await told(page, "which is a guess", "use", name="")
        model.info = structs.replace(model.info, chat_template="own {{ messages }}")
        await told(page, "brings its own template", "open", name="")
        for name, why in (("../x", "cannot be the name"), (" ", "needs a name")):
            await told(page, why, "save", name=name, source="x")
        await told(page, "came with Spindle and stays", "delete", name="ChatML")
        await told(page, "no instruction template", "use", name="Nowhere")


async def test_a_template_that_is_saved_over_another_can_be_taken_back():
    async with running("prompts", "settings", model=Scripted()) as app:
        page, folder = await opened(app), app.kernel.data / "instruction-templates"
        for source in ("one", "one"):
            html = await told(page, "“Mine” was saved.*", "save", name="Mine", source=source)
            assert "Undo" not in html
        html = await told(
            page, "“Mine” was saved over.*?</button>", "save", name="Mine", source="2"
        )
        assert "Undo" in html
        [kept] = (folder / ".trash").iterdir()
        await told(page, "There is another “Mine”", "restore", kept=kept.name)
        await told(page, "prompts-editor", "restore", kept=kept.name, instead=True)
        assert (folder / "Mine.jinja").read_text() == "one"
        assert [each.read_text() for each in (folder / ".trash").iterdir()] == ["2"]


async def test_the_setting_names_the_template_of_a_model_and_no_other():
    model = Scripted(chat_template="")
    settings = {"prompts": {"templates": {"scripted": "Mistral", "another": "ChatML"}}}
    async with running("prompts", "settings", model=model, settings=settings) as app:
        prompts = app.kernel.registry.values(PROMPTS)[0]
        assert (prompts.chosen().name, prompts.chosen().how) == ("Mistral", "set")
        model.info = structs.replace(model.info, name="another")
        assert prompts.chosen().name == "ChatML"
        await app.configure("prompts", templates={"another": "Mistral"})
        assert (prompts.chosen().name, prompts.chosen().how) == ("Mistral", "set")
        page = await opened(app)
        await told(page, "as you chose", "use", name="Alpaca")
        text = (app.kernel.data / "settings.yaml").read_text("utf-8")
        assert "another: Alpaca" in text, "what is chosen on the page stands there"


async def test_the_address_keeps_the_template_that_is_looked_at():
    async with running("prompts", "settings", model=Scripted()) as app:
        page = await opened(app)
        await told(page, "“My own” was saved", "save", name="My own", source="mine")
        assert 'data-path="/settings/prompts/My%20own"' in page.html
        again = await app.open("/settings/prompts/My own")  # As a new connection has it.
        html = await again.until("prompts-form.*?</form>")
        assert ">\nmine<" in html
        assert "data-guard" in html
        html = await told(again, "as you chose", "use", name="My own")
        assert "prompts-form" not in html, "what is typed stays"
        gone = await app.open("/settings/prompts/Gone")
        assert ">\nmine<" in await gone.until("prompts-form.*?</form>"), "what the model gets"


async def test_a_template_that_is_saved_beside_a_model_and_not_there_is_told(
    caplog: pytest.LogCaptureFixture,
):
    async with running("prompts", "settings", model=Scripted()) as app:
        page = await opened(app)
        add = app.kernel.registry.add
        says = lambda model: Beside("My ChatML")  # noqa: E731
        add(TEMPLATES, says, "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
        await app.kernel.slot().reload()
        await page.until("The instruction template “My ChatML”, which is saved beside .* is not")
        assert "instruction-templates, or choose another one" in caplog.text
        page = await opened(app)
        await page.until('id="prompts-missing">“My ChatML”')
