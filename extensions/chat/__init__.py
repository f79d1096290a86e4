"""Talk to the loaded model: conversations with versions of every message, live and lasting."""

from contextlib import suppress
from typing import Any

from markupsafe import Markup

from extensions.conversations.api import STORE
from extensions.prompts.api import CAST, PROMPTS, CastChanged, CastRenamed
from kernel.api import (
    MODES,
    PANELS,
    Changed,
    Client,
    Connected,
    Disconnected,
    Extension,
    LoadFailed,
    NoModel,
    Panel,
    SlotChanged,
)

from . import actions
from .api import SETUPS, SPEAKERS, TALK
from .beginning import Beginnings
from .comforts import Comforts
from .enclosing import ENCLOSURES, Enclosures
from .markdown import Markdown
from .pages import Pages
from .replies import Replies
from .running import Running
from .setup import Setups
from .sheet import Sheet
from .shelf import attend
from .talk import Talk
from .views import Views

ICON = "M4 5.5h16v10.5h-8.5L7 20v-4H4z"


async def setup(ext: Extension[Any]) -> None:
    store = ext.one(STORE)

    def code(language: str, html: str) -> str:
        return ext.render("_code.html", language=language, html=Markup(html)).strip()

    markdown, running = Markdown(code), dict[str, Running]()
    prompts, setups = ext.one(PROMPTS), Setups(ext, store)
    sheet = Sheet(ext, setups, markdown)
    enclosures = Enclosures(ext)
    views = Views(ext, store, markdown, running, sheet, enclosures)
    pages = Pages(ext, store, views, sheet, enclosures)
    replies = Replies(ext, store, markdown, pages, running, prompts, setups, sheet)
    beginnings = Beginnings(store, pages, setups, sheet)
    talk = Talk(store, replies, pages, setups, sheet, enclosures, beginnings, views)
    await setups.load()
    await pages.side.load()

    ext.on(Connected)(lambda _: ext.thread(markdown.prepare))
    ext.on(actions.Send)(lambda a, client: talk.send(client, a))
    ext.on(actions.Stop)(lambda a, _: talk.stop(a.conversation))
    ext.on(actions.Regenerate)(lambda a, client: talk.again(client, a.message))
    ext.on(actions.Retry)(lambda a, client: talk.again(client, a.message))
    ext.on(actions.Continue_)(lambda a, client: talk.go_on(client, a.message))
    ext.on(actions.Edit)(lambda a, client: talk.edit(client, a.message, a.text))
    ext.on(actions.Reword)(lambda a, client: talk.edit(client, a.message, a.text, ask=False))
    ext.on(actions.Reveal)(lambda a, client: talk.reveal(client, a.message))
    ext.on(actions.Back)(lambda a, client: talk.back(client, a.message))
    ext.on(actions.ShowAgain)(lambda a, client: talk.show_again(client, a.message))
    ext.on(actions.Version)(lambda a, client: talk.version(client, a.message, a.step))
    ext.on(actions.DeleteMessage)(lambda a, client: talk.delete_message(client, a.message))
    ext.on(actions.UndeleteMessage)(lambda a, client: talk.undelete_message(client, a.message))
    ext.on(actions.New)(lambda _, client: talk.new(client))
    ext.on(actions.Earlier)(lambda a, client: pages.tell_earlier(client, a.conversation, a.before))
    ext.on(actions.More)(lambda _, client: pages.side.more(client))
    ext.on(actions.Search)(lambda a, client: pages.side.search(client, a.text))
    ext.on(actions.Rename)(lambda a, _: talk.rename(a.conversation, a.title))
    ext.on(actions.Delete)(lambda a, client: talk.delete(client, a.conversation))
    ext.on(actions.Undelete)(lambda a, _: talk.undelete(a.conversation))

    ext.on(actions.SetUp)(lambda a, client: talk.set_up(client, a))
    ext.on(actions.Come)(lambda a, client: beginnings.come(client, a.box))
    ext.on(actions.Greet)(lambda a, client: beginnings.greet(client, a.step))
    ext.on(actions.Begin)(lambda a, client: beginnings.begin(client, a.step))
    ext.on(actions.Start)(lambda a, client: beginnings.start(client, a.character))
    ext.on(actions.Impersonate)(lambda a, client: talk.impersonate(client, a.conversation, a.text))

    @ext.on(actions.Reload)
    async def reload(action: actions.Reload, client: Client) -> None:
        with suppress(LoadFailed, NoModel):  # The slot says so.
            await ext.slot().reload()

    Comforts(ext, store, talk, replies, pages, setups, sheet, enclosures, beginnings)

    @ext.on(CastRenamed)
    async def renamed(event: CastRenamed) -> None:
        await setups.renamed(event.old, event.new)
        await pages.tell_setup()

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        if event.slot == ext.slot().name:
            await pages.tell_model()

    @ext.on(Changed)
    async def changed(event: Changed) -> None:
        if event.point == PANELS.name:
            await pages.tell_guests()
        elif event.point == ENCLOSURES.name:
            await pages.draw_anew()
        elif event.point in (MODES.name, CAST.name, PROMPTS.name, SPEAKERS.name):
            await pages.tell_setup()

    attend(ext, talk, pages)
    ext.on(CastChanged)(lambda _: pages.tell_setup())

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        pages.left(event.client)

    ext.add(SETUPS, setups)
    ext.add(TALK, talk)
    ext.add(PANELS, Panel("tab", "panel.html", pages.panel, title="Chat", icon=ICON))
    ext.add(PANELS, Panel("command", "command.html", pages.commands, title="Chat"))
    ext.add(PANELS, Panel("command", "recent.html", pages.commands, 50, title="Conversations"))
    ext.add(PANELS, Panel("shortcut", "shortcut.html", title="Chat"))
