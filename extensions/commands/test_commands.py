"""The palette and the shortcuts: what extensions contribute is drawn when it is asked for."""

import asyncio
from pathlib import Path

from kernel.testing import App, Scripted, running

MINE = '''"""Brings a command and a shortcut."""
from kernel.api import PANELS, Panel

async def setup(ext):
    async def context(client, subject):
        if (ext.data_root / "fail").exists():
            raise RuntimeError("no brass")
        return {"subject": subject}

    ext.add(PANELS, Panel("command", "command.html", context, order=-5, title="The <b>brass</b>"))
    ext.add(PANELS, Panel("command", "nothing.html", title="Never shown"))
    ext.add(PANELS, Panel("shortcut", "shortcut.html", order=5, title="Brass"))
'''


def mine(root: Path) -> None:
    folder = root / "mine"
    (folder / "templates").mkdir(parents=True)
    (folder / "extension.toml").write_text(
        'id = "mine"\nname = "Mine"\nversion = "1"\nsummary = "For tests."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(MINE)
    for name, html in (
        ("command", '<button type="button">Polish {{ subject }}</button>'),
        ("nothing", "{# nothing to do now #}\n"),
        ("shortcut", "<div><dt>Polish</dt><dd>b</dd></div>"),
    ):
        (folder / "templates" / f"{name}.html").write_text(html)


async def listed(app: App, path: str = "/chat", action: str = "show") -> str:
    page = app.page(path)
    await app.web.snapshot(page.client)
    await page.until("commands-open")
    page.html = ""
    await page.act(f"commands.{action}")
    return await page.until('id="commands-(keys-)?list".*')


async def test_the_palette_holds_what_extensions_contribute_now(tmp_path: Path):
    mine(tmp_path)
    async with running("commands", "mine", folders=[tmp_path]) as app:
        html = await listed(app, "/chat/17")
        assert "Polish 17" in html
        assert 'aria-label="The &lt;b&gt;brass&lt;/b&gt;"' in html
        assert "Never shown" not in html
        assert html.index("Polish") < html.index("Show the keyboard shortcuts")
        await app.kernel.changes.toggle("mine", on=False)
        assert "Polish" not in await listed(app, "/chat/17")


async def test_one_that_fails_costs_only_its_own_place(tmp_path: Path):
    mine(tmp_path)
    (tmp_path / "fail").touch()
    async with running("commands", "mine", folders=[tmp_path], data=tmp_path) as app:
        html = await listed(app)
        assert "Mine could not draw this" in html
        assert "Show the keyboard shortcuts" in html


async def test_the_shortcuts_are_what_extensions_say(tmp_path: Path):
    mine(tmp_path)
    async with running("commands", "chat", "conversations", "mine", folders=[tmp_path]) as app:
        html = await listed(app, action="keys")
        for title, row in (
            ("Everywhere", "Find a command"),
            ("Chat", "Stop the reply"),
            ("Brass", "Polish"),
        ):
            assert html.index(f'aria-label="{title}"') < html.index(row)
        assert '<kbd><span class="else">Ctrl</span><span class="apple">⌘</span></kbd>' in html


async def test_what_the_chat_offers_follows_what_the_page_shows():
    model = Scripted("One two.", gate=asyncio.Semaphore(0))
    async with running("commands", "chat", "conversations", model=model) as app:
        assert "New conversation" not in await listed(app, "/chat"), "it is one"
        page = app.page("/chat")
        await app.web.snapshot(page.client)
        await page.act("chat.send", text="What <i>is</i> brass?")
        html = await listed(app, page.client.path)
        assert '"action": "chat.stop", "conversation": "' in html
        assert '"action": "chat.new"' in html
        assert "What &lt;i&gt;is" not in html, "it is open already"
        html = await listed(app, "/settings")
        assert "chat.stop" not in html
        assert '<a href="/chat">New conversation</a>' in html
        assert f'<a href="{page.client.path}">What &lt;i&gt;is&lt;/i&gt; brass?</a>' in html
        for _ in range(10):
            model.gate.release()  # type: ignore[union-attr]
        await page.until("One two.")


async def test_the_model_and_the_settings_offer_what_can_be_done(tmp_path: Path):
    async with running(
        "commands", "models", "settings", "chat", "conversations", model=Scripted("Hi.")
    ) as app:
        html = await listed(app)
        for said in (
            "Unload scripted",
            "Reload scripted",
            "Choose a model",
            '<a href="/settings/access">Settings: Keys and access</a>',
            '<a href="/settings">Settings: Extensions</a>',
            '<a href="/chat">Go to Chat</a>',
            "Theme: dark",
        ):
            assert said in html
        assert "Theme: as the system" not in html
        await app.kernel.slot().unload()
        await app.kernel.changes.section("appearance", {"theme": "dark"})
        html = await listed(app)
        assert "Unload" not in html
        assert "Theme: dark" not in html
        assert "Theme: as the system" in html
