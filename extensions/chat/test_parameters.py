"""The parameters of a loader, beside the chat's own."""

from pathlib import Path

from kernel.testing import Scripted, running

LOADER = '''"""Adds parameters to those of the scripted loader."""
from typing import Annotated
from kernel.api import SAMPLERS, Meta, Samplers, Struct

class Added(Struct, frozen=True):
    wobble: Annotated[float, Meta(ge=0, le=1, description="How much it wobbles.")] = 0.5
    rough: Annotated[bool, Meta(description="Whether it is rough.")] = False

class Elsewhere(Struct, frozen=True):
    far: Annotated[int, Meta(description="For another loader.")] = 0

async def setup(ext):
    ext.add(SAMPLERS, Samplers("scripted", Added))
    ext.add(SAMPLERS, Samplers("another", Elsewhere))
'''


def adding(root: Path) -> None:
    (root / "adding").mkdir()
    (root / "adding" / "extension.toml").write_text(
        'id = "adding"\nname = "Adding"\nversion = "1"\nsummary = "For tests."\napi = 1\n'
    )
    (root / "adding" / "__init__.py").write_text(LOADER)


async def test_what_a_loader_adds_is_shown_checked_kept_and_sent(tmp_path: Path):
    adding(tmp_path)
    model = Scripted("Hi.")
    ids = ("conversations", "chat", "adding")
    file = "server:\n  open_browser: false\n"
    more = {"folders": [tmp_path], "data": tmp_path, "settings": file}
    async with running(*ids, model=model, **more) as app:
        page = app.page("/chat")
        await app.web.snapshot(page.client)
        await page.until("How much it wobbles.")
        assert 'id="chat-wobble" name="wobble"' in page.html
        assert "For another loader" not in page.html

        own = {"temperature": "0.5", "max_new_tokens": "", "seed": ""}
        page.html = ""
        await page.act("chat.parameters", **own, wobble="7", rough=["false", "true"])
        await page.until('id="chat-wobble-error" role="alert">Wobble must be a number from 0 to 1')
        assert "wobble" not in (tmp_path / "settings.yaml").read_text()

        await page.act("chat.parameters", **own, wobble="0.25", rough=["false", "true"])
        assert "wobble: 0.25" in (tmp_path / "settings.yaml").read_text()
        await page.act("chat.send", text="Hello")
        await page.until("Hi.")
        assert model.asked[-1].sampling.extra == {"wobble": 0.25, "rough": True}

        # Another loader is not asked for it, and it is there again afterwards.
        await app.kernel.changes.toggle("adding", on=False)
        page.html = ""
        await page.act("chat.parameters", **own)
        assert "chat-wobble" not in await page.until('id="chat-composer".*')
        await page.act("chat.send", text="And now?", conversation=page.client.subject)
        await page.until("Hi.*Hi.")
        assert not model.asked[-1].sampling.extra
        await app.kernel.changes.toggle("adding", on=True)
        page.html = ""
        await page.act("chat.parameters", **own, wobble="0.5", rough="false")
        await page.until('id="chat-wobble"[^>]*')
        assert "wobble" not in (tmp_path / "settings.yaml").read_text()
