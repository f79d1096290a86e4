"""Talk to the loaded model: conversations with versions of every message, live and lasting."""

from collections.abc import Mapping
from typing import Annotated, Any

from markupsafe import Markup

from extensions.conversations.api import STORE
from extensions.prompts.api import CAST, PROMPTS
from kernel.api import (
    MODES,
    PANELS,
    UNSET,
    Changed,
    Client,
    Connected,
    Disconnected,
    Extension,
    Meta,
    Panel,
    SettingsChanged,
    SlotChanged,
    Struct,
    UnsetType,
)

from . import actions
from .api import SETUPS
from .markdown import Markdown
from .pages import Pages
from .parameters import ParameterForm
from .replies import Replies
from .running import Running
from .setup import Setups
from .sheet import Sheet
from .shelf import attend
from .talk import Talk
from .views import Views

ICON = "M4 5.5h16v10.5h-8.5L7 20v-4H4z"


class Settings(Struct, frozen=True):
    """How replies are made. A temperature that is unset leaves it to the model's own settings,
    which its authors chose for it: a small model may need to be greedy, a large one not."""

    temperature: (
        Annotated[
            float,
            Meta(ge=0, le=5, description="Lower is steadier; 0 takes the likeliest word."),
        ]
        | UnsetType
    ) = UNSET
    max_new_tokens: Annotated[
        int, Meta(ge=1, le=1_000_000, description="A reply ends there at the latest.")
    ] = 2048
    seed: (
        Annotated[
            int, Meta(ge=-1, le=2**32 - 1, description="The same number gives the same reply.")
        ]
        | UnsetType
    ) = UNSET
    loader_parameters: Annotated[
        Mapping[str, Any],
        Meta(description="What the loader of a model adds to these, one “name: value” a line."),
    ] = {}


async def setup(ext: Extension[Settings]) -> None:
    store = ext.one(STORE)

    def code(language: str, html: str) -> str:
        return ext.render("_code.html", language=language, html=Markup(html)).strip()

    markdown, running = Markdown(code), dict[str, Running]()
    form, prompts, setups = ParameterForm(ext), ext.one(PROMPTS), Setups(ext, store)
    sheet = Sheet(ext, setups)
    views = Views(ext, store, markdown, running, form.context, sheet)
    pages = Pages(ext, store, views, sheet)
    replies = Replies(ext, store, markdown, pages, running, form.sampling, prompts, setups)
    talk = Talk(store, replies, pages, setups, sheet)
    await setups.load()
    await pages.side.load()

    ext.on(Connected)(lambda _: ext.thread(markdown.prepare))
    ext.on(actions.Send)(lambda a, client: talk.send(client, a.conversation, a.text))
    ext.on(actions.Stop)(lambda a, _: talk.stop(a.conversation))
    ext.on(actions.Regenerate)(lambda a, client: talk.again(client, a.message))
    ext.on(actions.Retry)(lambda a, client: talk.again(client, a.message))
    ext.on(actions.Continue_)(lambda a, client: talk.go_on(client, a.message))
    ext.on(actions.Edit)(lambda a, client: talk.edit(client, a.message, a.text))
    ext.on(actions.Reveal)(lambda a, client: talk.reveal(client, a.message))
    ext.on(actions.Version)(lambda a, _: talk.version(a.message, a.step))
    ext.on(actions.DeleteMessage)(lambda a, client: talk.delete_message(client, a.message))
    ext.on(actions.UndeleteMessage)(lambda a, _: talk.undelete_message(a.message))
    ext.on(actions.New)(lambda _, client: talk.new(client))
    ext.on(actions.Earlier)(lambda a, client: pages.tell_earlier(client, a.conversation, a.before))
    ext.on(actions.More)(lambda _, client: pages.side.more(client))
    ext.on(actions.Search)(lambda a, client: pages.side.search(client, a.text))
    ext.on(actions.Rename)(lambda a, _: talk.rename(a.conversation, a.title))
    ext.on(actions.Delete)(lambda a, client: talk.delete(client, a.conversation))
    ext.on(actions.Undelete)(lambda a, _: talk.undelete(a.conversation))

    ext.on(actions.SetUp)(lambda a, client: talk.set_up(client, a))
    ext.on(actions.Begin)(lambda a, client: talk.begin(client, a.step))
    ext.on(actions.Impersonate)(lambda a, client: talk.impersonate(client, a.conversation, a.text))

    @ext.on(actions.Parameters)
    async def parameters(action: actions.Parameters, client: Client) -> None:
        await pages.tell_composer(client, form.take(action))

    @ext.on(SettingsChanged)
    async def settings_changed(_: SettingsChanged) -> None:
        for client in tuple(pages.open):
            await pages.tell_composer(client)

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        if event.slot == ext.slot().name:
            await pages.tell_model()

    @ext.on(Changed)
    async def changed(event: Changed) -> None:
        if event.point == PANELS.name:
            await pages.tell_guests()
        elif event.point in (MODES.name, CAST.name, PROMPTS.name):
            await pages.tell_setup()

    attend(ext, talk, pages)

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        pages.left(event.client)

    ext.add(SETUPS, setups)
    ext.add(PANELS, Panel("tab", "panel.html", pages.panel, title="Chat", icon=ICON))
    ext.add(PANELS, Panel("command", "command.html", pages.commands, title="Chat"))
    ext.add(PANELS, Panel("command", "recent.html", pages.commands, 50, title="Conversations"))
    ext.add(PANELS, Panel("shortcut", "shortcut.html", title="Chat"))
