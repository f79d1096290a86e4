"""To which pages the chat's templates are pushed.

Whatever is pushed is rendered and queued in one step of the event loop after it was read, so that
no page is told something older than what it knows.
"""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

from extensions.conversations.api import Conversation as Kept
from extensions.conversations.api import Store, StoredMessage, Unknown
from kernel.api import PANELS, Client, Conversation, Extension, Panel

from .enclosing import Enclosures
from .places import Places
from .sheet import Sheet
from .side import Side
from .views import EXAMPLES, Views, unread_of

LAID_OUT = ("sidebar", "composer", "message_footer")
"""Regions of the page that the chat lays out."""
FOLLOWING = 30
"""Messages after one of which a reply may be among them that did not see all of it."""
LOST = "That conversation is not here: it was deleted, or not kept. This is a new one."
RECENT = 12
"""Conversations among the commands."""


Drafted = Literal["", "before", "out"]


class Pages:
    """The open pages, and what they are told."""

    def __init__(
        self,
        ext: Extension[Any],
        store: Store,
        views: Views,
        sheet: Sheet,
        enclosures: Enclosures,
    ) -> None:
        self.open = WeakSet[Client]()
        """Weakly, for a program that acts here has no page that could leave."""
        self._going = WeakKeyDictionary[Client, tuple[int, str, str]]()
        """Where each page goes, and in which of all moves."""
        self._moves = itertools.count()
        self._looks, self._told = itertools.count(1), WeakKeyDictionary[Client, int]()
        """Looks at what stands around the text box, and the latest that each page was told."""
        self.side, self.places = Side(ext, store, views), Places(ext, views, self.open)
        self._ext, self._store, self._views, self._sheet = ext, store, views, sheet
        self._enclosures = enclosures
        self._model: dict[str, Any] = {}
        self._guests: list[Panel] = []
        """The panels of others that the pages have."""
        self._last: dict[str, str] = {}
        """The last message that the pages of a conversation were told of."""
        self.waiting: dict[str, str] = {}
        """By conversation, what the model wrote for its text box when no page showed it."""
        self._notices = 0

    async def panel(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of the tab: what a page shows when it comes, or comes back."""
        if client and client.id:
            self._came(client)
            self.places.forget(client)
        look, news = next(self._looks), self._ext.news("composer")
        others = await self._others(client, subject)
        try:
            opened = await self._views.open(subject) if subject else None
        except Unknown:
            opened = None
            if client and client.id:
                self._ext.spawn(self._begin_anew(client, subject), "begin anew")
        drafted = dict[str, str]()
        if client and client.id and client.subject == subject:  # Else it went on meanwhile.
            drafted = self._drafted(subject)
            if self._later(client, look) or news != self._ext.news("composer"):
                self._ext.spawn(self.tell_composer(client), "composer")  # After what is drawn now.
        return {**self._views.panel(opened), **self.side.context(client), **others, **drafted}

    def _drafted(self, conversation: str) -> dict[str, str]:
        """What waits for the text box of a conversation, once."""
        words = self.waiting.pop(conversation, "")
        return {"text": words, "how": ""} if words else {}

    async def _begin_anew(self, client: Client, lost: str) -> None:
        if client.subject == lost and client not in self._going:
            await self.move(client, "")
            if not client.subject:
                self.say(LOST, client)

    def _came(self, client: Client) -> None:
        """A page shows the chat from now on."""
        if not self.open:
            self._guests = self._panels()
        self.open.add(client)

    async def commands(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of command.html and of recent.html."""
        here = bool(client and client in self.open)
        go = self._views.go(subject if here else "")
        recent = [kept for kept in self.side.newest(RECENT) if not here or kept.id != subject]
        conversation = subject if here else ""
        return {"here": here, "conversation": conversation, "busy": go["busy"], "recent": recent}

    def left(self, client: Client) -> None:
        self.open.discard(client)
        self.places.forget(client)
        self.side.forget(client)
        self._sheet.greetings.leave(client.id)

    async def _others(self, client: Client | None, subject: str) -> dict[str, Any]:
        """What other extensions show at the side and in the composer, and the setup."""
        return {
            "setup": await self._sheet.context(subject, client),
            "sidebar": await self._ext.panels("sidebar", client, subject),
            "composer": await self._ext.panels("composer", client, subject),
            "enclosed": await self._enclosures.waiting(client, subject),
        }

    # --- everyone ----------------------------------------------------------------------

    async def tell_list(self) -> None:
        await self.side.tell(self.open)

    async def tell_model(self) -> None:
        """The state of the model, where the chat speaks of it."""
        before, self._model = self._model, self._views.model()
        other = any(before.get(name) != self._model[name] for name in ("name", "state"))
        for client in tuple(self.open):
            if not client.subject:
                await self.tell_empty(client)
            if other:
                await self.tell_composer(client)

    async def tell_empty(self, client: Client) -> None:
        """What stands in a conversation of which nothing is kept yet."""
        setup = await self._sheet.context("", client)
        context = {"model": self._views.model(), "examples": EXAMPLES, "setup": setup}
        html = self._ext.render("_empty.html", **context, oob=True)
        self._ext.push_html(html, client, "empty")

    async def tell_setup(self, conversation: str | None = None) -> None:
        """How a conversation is set up by now; None: what there is to choose from changed."""
        for client in tuple(self.open):
            if conversation is not None and client.subject != conversation:
                continue
            if not client.subject:
                await self.tell_empty(client)
            await self.tell_composer(client)

    # --- those who look at one conversation --------------------------------------------

    async def tell_log(
        self,
        id: str,
        client: Client | None = None,
        at: str | None = None,
        but: Client | None = None,
    ) -> None:
        """All messages, after another branch was chosen. The page that did something to a message
        which is not among the last ones, or to what follows it (`at`), goes on being there. No page
        `but` one, which is about to move."""
        setup = await self._sheet.context(id)  # An empty conversation shows who begins it.
        opened = await self._views.open(id)
        context = {**self._views.panel(opened), "setup": setup}
        html = self._ext.render("_log.html", **context) + self._go(id)
        html += self._ext.render("_earlier.html", **context, oob=True)
        html += self._ext.render("_later.html", **context, oob=True)
        self._last[id] = opened.messages[-1].id if opened.messages else ""
        self.places.reset(id)
        here = [page for page in self.open if page.subject == id and page is not but]
        for to in here if but else [Conversation(id)]:
            self._ext.push_html(html, to)
        there = any(message.id == at for message in opened.messages)
        with suppress(Unknown):  # Another page may have removed it, or shows another branch.
            if client and at and not there and await self._store.shows(at):
                await self.move(client, id, at)

    async def tell_new(self, id: str, known: str) -> None:
        """The messages after `known`, which was the last one before; all of them, where another
        page meanwhile went to another branch."""
        messages = self._views.messages(await self._views.open(id))
        place = next((n for n, m in enumerate(messages, 1) if m["id"] == known), 0)
        if not place or self._last.get(id, known) != known:
            return await self.tell_log(id)
        self._last[id] = messages[-1]["id"]
        html = self._ext.render("_message.html", message=messages[place - 1], oob=True)
        html += self._ext.render("_append.html", messages=messages[place:]) + self._go(id)
        self.places.push(html, id, self._go(id))

    async def tell_ended(self, message: StoredMessage, html: str) -> None:
        """A reply came to its end; `html` is all of it as the page had it."""
        self._views.remember(message.id, html)
        await self._views.ask_others(message.id)
        context = self._views.message(message, last=True)
        html = self._ext.render("_message.html", message=context, oob=True)
        html += self._go(message.conversation)
        self._ext.push_html(html, Conversation(message.conversation))
        if message.cut:
            await self._tell_unread(message)
        await self.tell_list()

    async def tell_unseen(self, id: str, first: str) -> None:
        """From which message on the model sees a conversation; "": it sees all."""
        before = (await self._views.look(id)).unseen
        if before == first:
            return
        await self._store.set_state(id, "chat", "unseen", first)
        await self._views.look(id)
        for each in filter(None, (before, first)):
            with suppress(Unknown):
                following = (await self._store.after(id, each, FOLLOWING)).messages
                await self._tell_again(await self._store.message(each), following)

    async def _tell_unread(self, reply: StoredMessage) -> None:
        """The user's message before a reply that did not see all of it says so."""
        said = await self._store.history(reply.parent, FOLLOWING)
        asked = max((n for n, m in enumerate(said) if m.role == "user"), default=None)
        if asked is not None:
            await self._tell_again(said[asked], (*said[asked + 1 :], reply))

    async def _tell_again(self, message: StoredMessage, following: Sequence[StoredMessage]) -> None:
        """One message that is not the last, as it is by now."""
        unread = unread_of((message, *following)).get(message.id, 0)
        context = self._views.message(message, last=False, unread=unread)
        html = self._ext.render("_message.html", message=context, oob=True)
        self._ext.push_html(html, Conversation(message.conversation))

    async def tell_go(self, id: str) -> None:
        self._ext.push_html(self._go(id), Conversation(id))

    async def tell_menu(self, client: Client, message: StoredMessage) -> None:
        """What a page may do with a message beside what its row shows, those of others too."""
        others = await self._ext.panels("message_actions", client, message.id)
        faces = await self._sheet.faces(message.conversation)
        said = await self._store.history(message.id)
        context = {
            "message": message,
            "actions": others,
            "names": [*dict.fromkeys(face.name for face in faces)],
            "speaker": await self._sheet.name(message.conversation, said),
        }
        html = self._ext.render("_menu.html", **context, oob=True)
        self._ext.push_html(html, client, "menu")

    def tell_draft(self, client: Client, text: str, how: Drafted = "") -> None:
        """What stands in the text box of one page now; with `how` it comes `before` the words that
        are there, or goes `out` again from before them."""
        html = self._ext.render("_draft.html", text=text, how=how, oob=True)
        self._ext.push_html(html, client, "draft")

    def tell_title(self, conversation: Kept) -> None:
        html = self._ext.render("_title.html", conversation=conversation, oob=True)
        self._ext.push_html(html, Conversation(conversation.id))

    def _go(self, id: str) -> str:
        return self._ext.render("_go.html", **self._views.go(id), oob=True)

    # --- one ---------------------------------------------------------------------------

    async def move(self, client: Client, id: str, at: str = "") -> None:
        """Show a page another conversation (no id: a new one), and make that its address; `at`
        which message, if not at its end."""
        self._came(client)  # It may have been in another tab until now.
        going = self._going[client] = next(self._moves), id, at
        look, news = next(self._looks), self._ext.news("composer")
        try:
            others = await self._others(client, id)
            opened = await self._views.open(id, around=at) if id else None
            if self._going.get(client) is not going:
                return  # It was sent elsewhere meanwhile.
        finally:
            if self._going.get(client) is going:
                del self._going[client]
        self._ext.go(client, f"/chat/{id}".rstrip("/"))
        context = {**self._views.panel(opened), **self.side.context(client), **others}
        context |= {"at": self.places.at(client, opened, at), **self._drafted(id)}
        html = self._ext.render("panel.html", **context)
        html = f'<main id="main" hx-swap-oob="innerMorph">{html}</main>'
        self._ext.push_html(html, client, whole=True)
        if self._later(client, look) or news != self._ext.news("composer"):
            await self.tell_composer(client)

    async def show_anew(self) -> None:
        """Show all pages what is in the store now; one whose conversation is gone begins anew."""
        self._views.forget()
        await self.tell_list()
        await self.draw_anew()

    async def tell_guests(self) -> None:
        """The panels of other extensions, where one came or went: at once, reply or not."""
        before, self._guests = self._guests, self._panels()
        if before != self._guests:
            self._views.forget_others()
            await self.draw_anew()

    def _panels(self) -> list[Panel]:
        return [panel for panel in self._ext.get(PANELS) if panel.region in LAID_OUT]

    async def draw_anew(self) -> None:
        """Every page as it is now, because another extension came or went."""
        for client in [page for page in self.open if page.tab in ("", "chat")]:
            _, id, at = self._going.get(client, (0, client.subject, ""))
            try:
                await self.move(client, id, at)
            except Unknown:
                await self.move(client, "")

    async def tell_earlier(self, client: Client, id: str, before: str) -> None:
        """The messages that stand before the first one which a page has."""
        context = self._views.earlier(await self._views.open(id, before))
        if client.subject != id:
            return  # It went on meanwhile.
        html = self._ext.render("_before.html", **context)
        html += self._ext.render("_earlier.html", **context, oob=True)
        self._ext.push_html(html, client)

    async def tell_later(self, client: Client, id: str, after: str) -> None:
        """The messages that follow the last one which a page has, or the end."""
        await (self.places.later(client, id, after) if after else self.move(client, id))

    async def tell_composer(self, client: Client) -> None:
        """What stands around the text box; the box itself is left alone."""
        subject, look, others = client.subject, 0, dict[str, Any]()
        for _ in range(3):  # Until none of the others told news of its own meanwhile.
            look, news = next(self._looks), self._ext.news("composer")
            others = {
                "composer": await self._ext.panels("composer", client, subject),
                "setup": await self._sheet.context(subject),
                "enclosed": await self._enclosures.waiting(client, subject),
            }
            if news == self._ext.news("composer"):
                break
        if client.subject != subject:  # It went on meanwhile, and was told all of the other one.
            return
        if self._later(client, look):
            return
        context = {**self._views.composer(subject), **others}
        html = self._ext.render("_composer.html", **context, oob=True)
        self._ext.push_html(html, client, "composer")

    def _later(self, client: Client, look: int) -> bool:
        """Whether a page was told already what a later look found."""
        told = self._told.get(client, 0)
        self._told[client] = max(told, look)
        return told > look

    async def rearranged(self, id: str) -> None:
        """Conversations were renamed, filed, pinned or came; `id` which, if one."""
        with suppress(Unknown):
            if id:
                self.tell_title(await self._store.conversation(id))
        await self.tell_list()

    def say(self, text: str, client: Client) -> None:
        self._ext.tell(text, client)

    def offer_undo(self, text: str, client: Client, action: Mapping[str, str]) -> None:
        """Say that something was deleted, beside a button that brings it back."""
        self._notices += 1
        id, button = f"chat-{self._notices}", {"label": "Undo", "vals": action}
        html = self._ext.render("_undo.html", id=id, text=text, kind="note", button=button)
        self._ext.push_html(html, client)
