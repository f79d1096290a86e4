"""Keeps characters, lorebooks and personas as files, and makes of them what a model is told."""

from typing import Annotated

import msgspec

from kernel.api import (
    PANELS,
    ROUTES,
    Disconnected,
    Extension,
    Meta,
    Panel,
    Route,
    Router,
    Routes,
    SettingsChanged,
    Struct,
)

from .actions import (
    ChoosePersona,
    Delete,
    DeletePersona,
    DeleteWorld,
    Duplicate,
    EmptyTrash,
    KeepPersona,
    New,
    NewPersona,
    NewWorld,
    Paste,
    Rename,
    RenameWorld,
    Restore,
    Save,
    SaveWorld,
    SetFree,
    TakeIn,
    TellEverywhere,
)
from .api import CHARACTERS
from .desk import Desk
from .exchange import Exchange
from .folder import Folder
from .library import Library, LibraryChanged
from .lorebooks import Lorebooks
from .pages import Pages
from .pictures import serving
from .trash import Kind, Trash

ICON = "M12 4a4 4 0 1 0 0 8 4 4 0 1 0 0-8M4.5 20c.5-3.5 3.5-5.5 7.5-5.5s7 2 7.5 5.5"
DEFAULT = "Who you are in a conversation that says nothing else: the name of its file in users."
SCAN = "Messages, from the newest back, in which a lorebook that does not say looks for its keys."
TOKENS = "Tokens of all lore that is told at once, where a lorebook does not say; 0 is no limit."
ALL = "Lorebooks that are told in every conversation: the names of their files in worlds."
Name = Annotated[str, Meta(max_length=200)]


class Settings(Struct, frozen=True):
    """The extension's settings."""

    persona: Annotated[str, Meta(max_length=200, title="Default persona", description=DEFAULT)] = ""
    scan_depth: Annotated[int, Meta(ge=0, le=1000, description=SCAN)] = 4
    lore_tokens: Annotated[int, Meta(ge=0, le=1_000_000, description=TOKENS)] = 1024
    worlds: Annotated[
        list[Name], Meta(max_length=100, title="Lorebooks for all", description=ALL)
    ] = msgspec.field(default_factory=list[str])


async def setup(ext: Extension[Settings]) -> None:
    library = Library(ext)
    homes: dict[Kind, Folder] = {"character": library.folder, "persona": library.people.folder,
             "lorebook": library.worlds.folder}  # fmt: skip
    trash = Trash(ext.data / "trash", homes)
    pages = Pages(ext, library, trash)

    def changed() -> None:
        ext.emit(LibraryChanged())

    exchange = Exchange(ext, library, pages, changed)
    lore = Lorebooks(ext, library, trash, pages, changed)
    desk = Desk(ext, library, trash, pages, exchange, changed)

    @ext.on(LibraryChanged)
    async def library_changed(event: LibraryChanged) -> None:
        await pages.tell_gallery()

    @ext.on(SettingsChanged)
    async def settings_changed(event: SettingsChanged) -> None:
        await pages.tell_gallery()

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        pages.left(event.client)

    ext.on(New)(lambda a, client: desk.new(client, a.name))
    ext.on(Paste)(lambda a, client: desk.paste(client, a.text))
    ext.on(Save)(lambda a, client: desk.save(client, a.id, a.stamp, a.rest))
    ext.on(Duplicate)(lambda a, client: desk.duplicate(client, a.id))
    ext.on(Rename)(lambda a, client: desk.rename(client, a.id, a.to))
    ext.on(Delete)(lambda a, client: desk.delete(client, a.id))
    ext.on(Restore)(lambda a, client: desk.restore(client, a.token))
    ext.on(EmptyTrash)(lambda _, client: desk.empty_trash())
    ext.on(NewWorld)(lambda a, client: lore.new(client, a.name))
    ext.on(SaveWorld)(lambda a, client: lore.save(client, a.id, a.stamp, a.rest))
    ext.on(DeleteWorld)(lambda a, client: lore.delete(client, a.id))
    ext.on(RenameWorld)(lambda a, client: lore.rename(client, a.id, a.to))
    ext.on(TellEverywhere)(lambda a, client: lore.everywhere(client, a.id, a.on))
    ext.on(SetFree)(lambda a, client: lore.set_free(client, a.id, a.stamp, a.rest))
    ext.on(TakeIn)(lambda a, client: lore.take_in(client, a.id, a.world, a.stamp, a.rest))
    ext.on(NewPersona)(lambda a, client: desk.new_persona(client, a.name, a.description))
    ext.on(KeepPersona)(desk.keep_persona)
    ext.on(DeletePersona)(lambda a, client: desk.delete_persona(client, a.id))
    ext.on(ChoosePersona)(lambda a, _: desk.choose_persona(a.id))

    at = "/ext/characters"
    routes = [
        Route(f"{at}/picture/{{id}}", serving(ext, library.folder)),
        Route(f"{at}/persona/{{id}}", serving(ext, library.people.folder)),
        Route(f"{at}/export/{{name}}", exchange.exported),
        Route(f"{at}/world/{{name}}", exchange.world),
        Route(f"{at}/import", exchange.uploaded, methods=["POST"]),
        Route(f"{at}/portrait/{{kind}}/{{id}}", exchange.portrait, methods=["POST"]),
    ]
    ext.add(ROUTES, Routes(Router(routes), "files"))
    ext.add(CHARACTERS, library)
    ext.add(PANELS, Panel("tab", "panel.html", pages.panel, 5, title="Characters", icon=ICON))
    ext.add(PANELS, Panel("command", "command.html", pages.commands, 20, title="Characters"))
    ext.spawn(pages.watch(), "watch")
    ext.defer(library.close)
