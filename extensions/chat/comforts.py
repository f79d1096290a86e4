"""Comforts of a conversation: what is done to its last reply, and to the order of its messages."""

from typing import Any

from extensions.conversations.api import Store, StoredMessage
from kernel.api import Client, Extension, Refused, Role, Text

from . import actions
from .beginning import Beginnings
from .enclosing import Enclosures
from .pages import Pages
from .replies import Replies
from .setup import Setups
from .sheet import Sheet
from .talk import Talk

NOTHING_SAID = "Nothing was said yet. Write the first message."
NO_REPLY = "The last message is not a reply. Send something, and wait for its answer."
NO_WORDS = "The text box is empty. Write there what the message should say."
REMOVED = "The last reply was removed."
BRANCHED = "This is a branch, a conversation of its own. The other one stays as it is."


class Comforts:
    """One method for each action; who has the page open sees what became of it."""

    def __init__(
        self,
        ext: Extension[Any],
        store: Store,
        talk: Talk,
        replies: Replies,
        pages: Pages,
        setups: Setups,
        sheet: Sheet,
        enclosures: Enclosures,
        beginnings: Beginnings,
    ) -> None:
        self._store, self._talk, self._replies = store, talk, replies
        self._pages, self._setups, self._enclosures = pages, setups, enclosures
        self._sheet, self._beginnings = sheet, beginnings
        ext.on(actions.RegenerateLast)(self.again)
        ext.on(actions.ContinueLast)(self.go_on)
        ext.on(actions.Swipe)(self.swipe)
        ext.on(actions.ReplaceLast)(self.replace)
        ext.on(actions.RemoveLast)(self.remove)
        ext.on(actions.UnremoveLast)(self.bring_back)
        ext.on(actions.Dummy)(self.dummy)
        ext.on(actions.Insert)(self.insert)
        ext.on(actions.Move)(self.move)
        ext.on(actions.Branch)(self.branch)
        ext.on(actions.Menu)(self.menu)

    # --- the last reply ----------------------------------------------------------------

    async def again(self, action: actions.RegenerateLast, client: Client) -> None:
        last = (await self._last(action.conversation))[-1]
        await self._talk.again(client, last.id)

    async def go_on(self, action: actions.ContinueLast, client: Client) -> None:
        await self._talk.go_on(client, (await self._reply(action.conversation)).id)

    async def swipe(self, action: actions.Swipe, client: Client) -> None:
        """The version before or after; after the last one a new one is written."""
        id = action.conversation
        if not id or not (await self._store.conversation(id)).leaf:
            return await self._beginnings.greet(client, action.step)
        reply = await self._reply(action.conversation)
        last = action.step > 0 and reply.number == reply.versions
        if last and (reply.parent or reply.versions == 1):
            await self._talk.again(client, reply.id)
        else:  # Greetings go round.
            await self._talk.version(client, reply.id, 1 - reply.versions if last else action.step)

    async def replace(self, action: actions.ReplaceLast, client: Client) -> None:
        """Other words for the last reply, as a version of it."""
        words = _words(action.text)
        reply = await self._reply(action.conversation)
        await self._talk.edit(client, reply.id, words)
        self._pages.tell_draft(client, "")

    async def remove(self, action: actions.RemoveLast, client: Client) -> None:
        """Cut off the last reply and what it answers, which goes back to the text box."""
        with self._replies.round(action.conversation):
            *before, last = await self._last(action.conversation)
            asked = before[-1] if before and last.role == "assistant" else last
            asked = asked if asked.role == "user" else last
            await self._store.cut(asked.id)
        await self._pages.tell_log(action.conversation)
        await self._pages.tell_list()
        if asked.role == "user":
            self._pages.tell_draft(client, asked.text, "before")
            await self._enclosures.back(client, asked.parts)
        undo = {"action": "chat.unremove_last", "message": asked.id}
        self._pages.offer_undo(REMOVED, client, undo)

    async def bring_back(self, action: actions.UnremoveLast, client: Client) -> None:
        shown = not self._replies.is_busy(await self._store.place(action.message))
        message = await self._store.uncut(action.message, shown=shown)
        if message.role == "user":
            self._pages.tell_draft(client, message.text, "out")
            await self._enclosures.sent(client, message.parts)
        await self._pages.tell_log(message.conversation)
        await self._pages.tell_list()

    # --- any message -------------------------------------------------------------------

    async def dummy(self, action: actions.Dummy, client: Client) -> None:
        """Keep what the text box has as a message, and have nothing answered."""
        role, id = _role(action.role), action.conversation
        parts = self._enclosures.parts(client) if role == "user" else ()
        words = action.text if parts else _words(action.text)
        if id:
            self._replies.refuse_if_busy(id)
        if self._pages.places.is_away(client):
            await self._pages.move(client, id)
        at = await self._beginnings.greeted(client, id) or id
        if role == "user":
            enclosed = (*parts, Text(words)) if parts and words.strip() else parts
            me = await self._sheet.user(at)
            said = await self._store.add_user(at, words, parts=enclosed, name=me)
            await self._enclosures.sent(client, parts)
        else:
            leaf = (await self._store.conversation(at)).leaf if at else ""
            before = await self._store.history(leaf) if leaf else ()
            name = await self._sheet.name(at, before)
            said = await self._store.say(at, "assistant", words, name=name)
        await self._setups.begin(said.conversation)
        if id:
            await self._pages.tell_new(id, said.parent)
        else:
            await self._pages.move(client, said.conversation)
        self._pages.tell_draft(client, "")
        await self._pages.tell_list()

    async def insert(self, action: actions.Insert, client: Client) -> None:
        words = _words(action.text, "Write what the message should say.")
        at = await self._shown(action.message)
        before = action.where == "before"
        role, _, name = action.role.partition(" ")
        if _role(role) == "assistant":
            names = [face.name for face in await self._sheet.faces(at.conversation)]
            above = at.parent if before else at.id
            said = await self._store.history(above) if above else ()
            name = name if name in names else await self._sheet.name(at.conversation, said)
        else:
            name = await self._sheet.user(at.conversation)
        await self._store.insert(at.id, _role(role), words, before=before, name=name)
        await self._show(client, at)

    async def move(self, action: actions.Move, client: Client) -> None:
        at = await self._shown(action.message)
        await self._store.move(at.id, up=action.step < 0)
        await self._show(client, at)

    async def branch(self, action: actions.Branch, client: Client) -> None:
        """Go on from a message in a new conversation; without one, from the last."""
        at = action.message or (await self._last(action.conversation))[-1].id
        message = await self._store.message(at)
        if message.state == "running":
            self._replies.refuse_if_busy(message.conversation)
        title = (await self._store.conversation(message.conversation)).title
        new = await self._store.fork(at, f"{title.removesuffix(' (branch)')} (branch)")
        await self._setups.begin(new.id)
        await self._pages.tell_list()
        await self._pages.move(client, new.id)
        self._pages.say(BRANCHED, client)

    async def menu(self, action: actions.Menu, client: Client) -> None:
        """What there is to do with a message beside what its row shows."""
        await self._pages.tell_menu(client, await self._store.message(action.message))

    # --- inside ------------------------------------------------------------------------

    async def _last(self, conversation: str) -> list[StoredMessage]:
        """The last two messages, or the only one."""
        shown = (await self._store.get(conversation, 2)).messages if conversation else ()
        if not shown:
            raise Refused(NOTHING_SAID)
        return [*shown]

    async def _reply(self, conversation: str) -> StoredMessage:
        last = (await self._last(conversation))[-1]
        if last.role != "assistant":
            raise Refused(NO_REPLY)
        return last

    async def _shown(self, id: str) -> StoredMessage:
        """A message of a conversation in which nothing is being written."""
        message = await self._store.message(id)
        self._replies.refuse_if_busy(message.conversation)
        return message

    async def _show(self, client: Client, message: StoredMessage) -> None:
        await self._pages.tell_log(message.conversation, client, message.id)
        await self._pages.tell_list()


def _words(text: str, otherwise: str = NO_WORDS) -> str:
    if not text.strip():
        raise Refused(otherwise)
    return text


def _role(role: str) -> Role:
    return "assistant" if role == "assistant" else "user"
