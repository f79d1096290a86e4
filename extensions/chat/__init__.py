"""Talk to the loaded model: conversations with versions of every message, live and lasting."""

from collections.abc import Mapping
from typing import Annotated, Any

from markupsafe import Markup

from extensions.conversations.api import STORE
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

from .actions import (
    Continue_,
    Delete,
    DeleteMessage,
    Earlier,
    Edit,
    More,
    New,
    Parameters,
    Regenerate,
    Rename,
    Retry,
    Reveal,
    Search,
    Send,
    Stop,
    Undelete,
    UndeleteMessage,
    Version,
)
from .fitting import Fitting
from .markdown import Markdown
from .mode import ChatMode
from .pages import Pages
from .parameters import ParameterForm
from .replies import Replies
from .running import Running
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
    system_message: Annotated[
        str, Meta(description="What the model is told before every conversation.")
    ] = ""
    loader_parameters: Annotated[
        Mapping[str, Any],
        Meta(description="What the loader of a model adds to these, one “name: value” a line."),
    ] = {}


async def setup(ext: Extension[Settings]) -> None:
    store = ext.one(STORE)

    def code(language: str, html: str) -> str:
        return ext.render("_code.html", language=language, html=Markup(html)).strip()

    markdown, running, fitting = Markdown(code), dict[str, Running](), Fitting(ext)
    form = ParameterForm(ext)
    pages = Pages(ext, store, Views(ext, store, markdown, running, form.context))
    replies = Replies(ext, store, markdown, pages, running, form.sampling, fitting)
    talk = Talk(store, replies, pages)
    await pages.side.load()

    ext.on(Connected)(lambda _: ext.thread(markdown.prepare))
    ext.on(Send)(lambda a, client: talk.send(client, a.conversation, a.text))
    ext.on(Stop)(lambda a, _: talk.stop(a.conversation))
    ext.on(Regenerate)(lambda a, client: talk.again(client, a.message))
    ext.on(Retry)(lambda a, client: talk.again(client, a.message))
    ext.on(Continue_)(lambda a, client: talk.go_on(client, a.message))
    ext.on(Edit)(lambda a, client: talk.edit(client, a.message, a.text))
    ext.on(Reveal)(lambda a, client: talk.reveal(client, a.message))
    ext.on(Version)(lambda a, _: talk.version(a.message, a.step))
    ext.on(DeleteMessage)(lambda a, client: talk.delete_message(client, a.message))
    ext.on(UndeleteMessage)(lambda a, _: talk.undelete_message(a.message))
    ext.on(New)(lambda _, client: talk.new(client))
    ext.on(Earlier)(lambda a, client: pages.tell_earlier(client, a.conversation, a.before))
    ext.on(More)(lambda _, client: pages.side.more(client))
    ext.on(Search)(lambda a, client: pages.side.search(client, a.text))
    ext.on(Rename)(lambda a, _: talk.rename(a.conversation, a.title))
    ext.on(Delete)(lambda a, client: talk.delete(client, a.conversation))
    ext.on(Undelete)(lambda a, _: talk.undelete(a.conversation))

    @ext.on(Parameters)
    async def parameters(action: Parameters, client: Client) -> None:
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

    attend(ext, talk, pages)

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        pages.left(event.client)

    ext.add(MODES, ChatMode(lambda: ext.settings.system_message, fitting.fitted))
    ext.add(PANELS, Panel("tab", "panel.html", pages.panel, title="Chat", icon=ICON))
    ext.add(PANELS, Panel("command", "command.html", pages.commands, title="Chat"))
    ext.add(PANELS, Panel("command", "recent.html", pages.commands, 50, title="Conversations"))
    ext.add(PANELS, Panel("shortcut", "shortcut.html", title="Chat"))
