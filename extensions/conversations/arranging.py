"""What a person does with conversations and folders, as the pages ask for it and see it."""

import itertools
from collections.abc import Mapping
from typing import Any

from kernel.api import Client, Everyone, Extension, Refused

from . import actions as ask
from .care import day
from .incoming import Incoming
from .outgoing import FORMS
from .records import Erased, Rearranged, Unfiled, Unknown
from .store import Store
from .text import is_secret
from .titles import Titles

KEPT = 20
"""Removals of folders that can be taken back."""


class Arranging:
    """Carries out the actions, and shows the dialog, the trash and what was imported."""

    def __init__(self, ext: Extension[Any], store: Store) -> None:
        self._ext, self._store = ext, store
        self.titles = Titles(ext, store, self._changed)
        self.incoming = Incoming(ext, store, self._tell_imported)
        self._removed: dict[str, Unfiled] = {}
        store.moved.append(lambda: ext.spawn(self.tell_trash(), "trash"))
        self._numbers = itertools.count(1)

    def listen(self) -> None:
        """Answer the actions."""
        ext, shelf = self._ext, self._store.shelf
        ext.on(ask.Sheet)(lambda a, client: self.show(a.conversation, client))
        ext.on(ask.Arrange)(lambda a, _: self.arrange(a))
        ext.on(ask.GiveTitle)(lambda a, client: self.give_title(a.conversation, client))
        ext.on(ask.RemoveFolder)(lambda a, client: self.remove(a.folder, client))
        ext.on(ask.Refile)(lambda a, _: self.refile(a.removal))
        ext.on(ask.BringBack)(lambda a, _: self.bring_back(a.conversation))
        ext.on(ask.Erase)(lambda a, _: self.erase(a.conversation))

        @ext.on(ask.Pin)
        async def pin(action: ask.Pin, client: Client) -> None:
            await shelf.pin(action.conversation, on=action.on)
            self._changed(action.conversation)

        @ext.on(ask.File)
        async def file(action: ask.File, client: Client) -> None:
            await shelf.file(action.conversation, action.folder)
            self._changed(action.conversation)

        @ext.on(ask.MakeFolder)
        async def make(action: ask.MakeFolder, client: Client) -> None:
            await shelf.make(action.name)
            self._changed()

        @ext.on(ask.NewFolder)
        async def new(action: ask.NewFolder, client: Client) -> None:
            taken = {folder.name for folder in await shelf.folders()}
            names = itertools.chain(["New folder"], (f"New folder {n}" for n in itertools.count(2)))
            name = await shelf.make(next(name for name in names if name not in taken))
            self._changed()
            ext.tell(f"“{name}” is in the list. Its pencil gives it another name.", client)

        @ext.on(ask.RenameFolder)
        async def rename(action: ask.RenameFolder, client: Client) -> None:
            await shelf.rename(action.folder, action.name)
            self._changed()

        @ext.on(ask.Fold)
        async def fold(action: ask.Fold, client: Client) -> None:
            await shelf.fold(action.folder, on=action.on)
            self._changed()

        @ext.on(ask.Take)
        async def take(action: ask.Take, client: Client) -> None:
            self.incoming.take(action.batch)

    async def show(self, id: str, client: Client) -> None:
        """The dialog of one conversation."""
        kept = await self._store.conversation(id)
        folders = [folder.name for folder in await self._store.shelf.folders()]
        forms = [(name, form.label) for name, form in FORMS.items()]
        html = self._ext.render(
            "_sheet.html",
            kept=kept,
            folders=folders,
            tags=[tag for tag, _ in (await self._store.shelf.tags())[:12]],
            forms=forms,
            model=bool(self._ext.slot().model),
            oob=True,
        )
        self._ext.push_html(html, client, "sheet")

    async def arrange(self, form: ask.Arrange) -> None:
        """Do what the dialog's form says, where it says something else than is so already."""
        kept = await self._store.conversation(form.conversation)
        if form.title.strip() and form.title.strip() != kept.title:
            await self._store.rename(kept.id, form.title)
        if not kept.incognito:
            folder = form.new_folder.strip() or form.folder
            if folder != kept.folder:
                await self._store.shelf.file(kept.id, folder)
            if form.tags != " ".join(kept.tags):
                await self._store.shelf.tag(kept.id, form.tags)
        self._changed(kept.id)

    async def give_title(self, id: str, client: Client) -> None:
        if not self._ext.slot().model:
            raise Refused("No model is loaded. Choose one, or type a title.")
        await self.titles.give(id, asked=True)

    async def remove(self, folder: str, client: Client) -> None:
        unfiled = await self._store.shelf.remove(folder)
        number = f"{next(self._numbers)}"
        self._removed[number] = unfiled
        if len(self._removed) > KEPT:
            self._removed.pop(next(iter(self._removed)))
        self._changed()
        text = f"The folder “{folder}” was deleted; its conversations are in the list."
        button = {
            "label": "Undo",
            "vals": {"action": "conversations.refile", "removal": number},
        }
        html = self._ext.render(
            "_undo.html", id=f"conversations-{number}", text=text, kind="note", button=button
        )
        self._ext.push_html(html, client)

    async def refile(self, number: str) -> None:
        if not (unfiled := self._removed.pop(number, None)):
            raise Refused("This cannot be taken back any more. Make the folder anew.")
        await self._store.shelf.refile(unfiled)
        self._changed()

    async def bring_back(self, id: str) -> None:
        kept = await self._store.undelete(id)
        self._ext.tell(f"“{kept.title}” is in the list again.", Everyone())
        self._changed()

    async def erase(self, id: str) -> None:
        """Delete for good what is in the trash, or one of it."""
        shelf = self._store.shelf
        ids = [id] if id else [each.id for each in await shelf.trash(100_000)]
        if not await shelf.erase(ids):
            raise Unknown("This is not in the trash any more.")
        self._ext.emit(Erased())

    # --- what pages show ---------------------------------------------------------------

    async def trash(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of trash.html."""
        return await self._trash()

    async def exchange(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of exchange.html."""
        return {"result": self.incoming.last, "forms": [(n, f.label) for n, f in FORMS.items()]}

    async def secret(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of incognito.html."""
        return {"conversation": subject if is_secret(subject) else ""}

    async def tell_trash(self) -> None:
        html = self._ext.render("_trash.html", oob=True, **await self._trash())
        self._ext.push_html(html, Everyone(), "trash")

    async def _trash(self) -> dict[str, Any]:
        found = await self._store.shelf.trash()
        return {
            "trashed": [
                {"id": t.id, "title": t.title, "messages": t.messages, "day": day(t.deleted)}
                for t in found
            ]
        }

    def _tell_imported(self) -> None:
        html = self._ext.render("_imported.html", oob=True, result=self.incoming.last)
        self._ext.push_html(html, Everyone(), "imported")

    def _changed(self, id: str = "") -> None:
        self._ext.emit(Rearranged(id))
