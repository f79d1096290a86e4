"""What Notebook and Default, and other tabs of free text, are built with."""

from functools import partial
from typing import Any

from extensions.chat.api import Markdown
from extensions.conversations.api import STORE
from kernel.api import PANELS, Client, Disconnected, Extension, Panel, Point, SlotChanged

from . import actions as a
from .desk import Desk
from .library import OUTPUT, TEXT, Library
from .pages import Pages
from .sending import prompt_of
from .sheet import Sheet
from .views import Views

__all__ = ["OUTPUT", "TEXT", "WRITING", "Desk", "Library", "Sheet", "Writing", "prompt_of"]


class Writing:
    """The texts, and how a tab for them is made."""

    def __init__(self, library: Library, markdown: Markdown) -> None:
        self.library, self._markdown = library, markdown

    def tab(self, ext: Extension[Any], title: str, icon: str, *, two: bool, order: int) -> Desk:
        """Give an extension a tab of free text, with its templates panel.html, command.html and
        shortcut.html; `two` boxes are one for what goes in and one for what comes out."""
        pages = Pages(ext, self.library, Views(ext, self._markdown), two=two)
        desk = Desk(ext, self.library, pages)
        ext.on(a.Edit)(desk.edit)
        ext.on(a.Generate)(desk.generate)
        ext.on(a.Stop)(desk.stop)
        ext.on(a.New)(desk.new)
        ext.on(a.Rename)(desk.rename)
        ext.on(a.Delete)(desk.delete)
        ext.on(a.Undelete)(desk.undelete)
        ext.on(a.Show)(desk.show)
        ext.on(a.Logits)(desk.logits)
        ext.on(a.Tokens)(desk.tokens)
        if two:
            ext.on(a.Continue_)(desk.go_on)
        else:
            ext.on(a.Undo)(desk.undo)
            ext.on(a.Regenerate)(desk.regenerate)

        ext.on(a.Send)(partial(self._send, ext, desk))

        async def sent(client: Client | None, subject: str) -> dict[str, str]:
            return {"message": subject, "tab": ext.id, "title": title}

        @ext.on(Disconnected)
        async def disconnected(event: Disconnected) -> None:
            pages.left(event.client)

        @ext.on(SlotChanged)
        async def slot_changed(event: SlotChanged) -> None:
            if event.slot == ext.slot().name and event.state in ("ready", "empty", "failed"):
                pages.model_changed()

        ext.add(PANELS, Panel("tab", "panel.html", pages.panel, order, title=title, icon=icon))
        ext.add(PANELS, Panel("command", "command.html", pages.commands, order, title=title))
        ext.add(PANELS, Panel("shortcut", "shortcut.html", order=order, title=title))
        ext.add(PANELS, Panel("message_actions", "send.html", sent, order))
        return desk

    async def _send(self, ext: Extension[Any], desk: Desk, action: a.Send, client: Client) -> None:
        """A conversation up to a message becomes a text."""
        store = ext.one(STORE)
        message = await store.message(action.message)
        kept = (await store.get(message.conversation, 1)).conversation
        await desk.take(await prompt_of(ext, store, action.message), client, kept.title)


WRITING: Point[Writing] = Point("writing", "Texts that a model continues.", Writing)
