"""What a person can do in a conversation; one method for each thing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakSet

from extensions.conversations.api import Store, StoredMessage, Unknown
from kernel.api import UNSET, Client, Part, Refused, Text

from .actions import Send, SetUp
from .beginning import Beginnings
from .enclosing import Enclosures
from .pages import Pages
from .replies import Replies
from .running import Running
from .setup import Setups
from .sheet import Sheet
from .views import Views

ANOTHER = "Another version is written. What followed the one before is kept with it."
DELETED = "The message was deleted."
INCOGNITO = "Incognito conversation"
FORGOTTEN = "The incognito conversation is closed, and gone."
KEPT = "The conversation is kept. It is no longer incognito."
WITH_MORE = "The message was deleted, and what follows it. Another version is shown."
KEYS = 1000
"""Messages of which it is known by their keys that they were kept."""


class Talk:
    """Changes a conversation, has it answered, and shows every page what became of it."""

    def __init__(
        self,
        store: Store,
        replies: Replies,
        pages: Pages,
        setups: Setups,
        sheet: Sheet,
        enclosures: Enclosures,
        beginnings: Beginnings,
        views: Views,
    ) -> None:
        self._store, self._replies, self._pages = store, replies, pages
        self._setups, self._sheet, self._enclosures = setups, sheet, enclosures
        self._beginnings, self._views = beginnings, views
        self._left: dict[str, WeakSet[Client]] = {}
        """Pages that showed a conversation when it was deleted."""
        self._sent: dict[str, str] = {}
        """By the keys of the latest messages, the conversation of each as far as it is known."""

    async def send(self, client: Client, action: Send) -> None:
        """Keep the message and what goes with it, then have it answered; once, however often it
        comes. Raises Refused."""
        conversation, text, key = action.conversation, action.text, action.idempotency_key
        if key in self._sent:
            if not conversation and self._sent[key]:
                await self._pages.move(client, self._sent[key])
            return
        parts = self._enclosures.parts(client)
        if not text.strip() and not parts:
            raise Refused("Write something first.")
        if key:
            self._sent[key] = conversation
        if len(self._sent) > KEYS:
            del self._sent[next(iter(self._sent))]
        asked = None
        try:
            if self._pages.places.is_away(client):
                await self._pages.move(client, conversation)
            if conversation and self._replies.is_busy(conversation):  # Another page was quicker.
                self._pages.tell_draft(client, text, "before")
            if not conversation:
                greeted = await self._beginnings.greeted(client, "")
                asked = await self._said(client, greeted, action, parts)
                if key:
                    self._sent[key] = asked.conversation
                with self._replies.claimed(asked.conversation) as running:
                    await self._setups.begin(asked.conversation)
                    await self._pages.move(client, asked.conversation)
                    await self._replies.answer(running, asked.id, client)
            else:
                with self._replies.claimed(conversation) as running:
                    if await self._beginnings.greeted(client, conversation):
                        await self._pages.tell_log(conversation)
                    parent = await self._parent(conversation, action.after)
                    asked = await self._said(client, conversation, action, parts, parent)
                    self._pages.tell_title(await self._store.conversation(conversation))
                    await self._pages.tell_new(conversation, asked.parent)
                    await self._replies.answer(running, asked.id, client)
        except Exception:
            if asked:  # It is kept, has no answer, and nothing is under way.
                await self._pages.tell_log(asked.conversation)
            else:
                self._sent.pop(key, None)
            raise
        await self._pages.tell_new(asked.conversation, asked.id)
        await self._pages.tell_list()

    async def set_up(self, client: Client, action: SetUp) -> None:
        """Another mode, character, template … of a conversation, from the next reply on."""
        id = action.conversation
        face = await self._sheet.face(id)
        before, new = (face, (await self._sheet.personas(id))[:1]), await self._setups.of("")
        if action.character is not UNSET and action.character != (face.id if face else ""):
            self._sheet.greetings.forget(id or client.id)
        try:
            await self._setups.take(action)
        finally:
            await self._pages.tell_setup(id)
        if id and new != await self._setups.of(""):  # A new one begins with the same.
            await self._pages.tell_setup("")
        if id and before != (await self._sheet.face(id), (await self._sheet.personas(id))[:1]):
            await self._pages.tell_log(id)

    async def impersonate(self, client: Client, conversation: str, text: str) -> None:
        """Let the model write the user's message, into the text box of the page that asked."""
        if not conversation:
            raise Refused("Nothing was said yet. Begin the conversation first.")
        with self._replies.claimed(conversation) as running:
            await self._replies.impersonate(running, client, text)
        await self._pages.tell_go(conversation)

    async def speak(
        self, client: Client, conversation: str, speaker: str = "", turns: int = 1
    ) -> None:
        """Have so many replies follow what was said last, and wait for them; as Talking says."""
        try:
            with self._replies.round(conversation) as held:
                while turns and await self._follow(client, held, speaker):
                    turns -= 1
        finally:
            await self._pages.tell_go(conversation)
            await self._pages.tell_list()

    async def _follow(self, client: Client, held: Running, speaker: str) -> bool:
        """One of them; whether it came to its own end, and nobody stopped the round."""
        if held.stopped:
            return False
        leaf = (await self._store.conversation(held.conversation)).leaf
        if not leaf:
            raise Refused(
                "Nothing was said yet. Write the first message, or begin with a greeting."
            )
        with self._replies.claimed(held.conversation, held) as running:
            await self._replies.answer(running, leaf, client, speaker=speaker)
        await self._pages.tell_new(held.conversation, leaf)
        if running.task:
            await asyncio.wait({running.task})
        return (await self._store.message(running.message)).state == "done" and not held.stopped

    async def empty(self, client: Client) -> str:
        """Go to a conversation of its own in which nothing was said; answers its id."""
        kept = await self._store.create()
        await self._setups.begin(kept.id)
        await self._pages.move(client, kept.id)
        await self._pages.tell_list()
        return kept.id

    async def recast(self, conversation: str) -> None:
        """Show who is in a conversation by now."""
        await self._pages.tell_setup(conversation)
        await self._pages.tell_log(conversation)

    async def _parent(self, conversation: str, after: str) -> str | None:
        """What a message follows whose page did not see what another tab has said since."""
        shown = (await self._store.get(conversation, 1)).messages
        if not after or not shown or after == shown[-1].id:
            return None
        with suppress(Unknown):
            if (await self._store.message(after)).conversation == conversation:
                return after
        return None

    async def stop(self, conversation: str) -> None:
        if running := self._replies.running.get(conversation):
            running.stop()

    async def again(self, client: Client, id: str) -> None:
        """Answer once more, as a new version; a reply that failed without a word goes."""
        message = await self._store.message(id)
        question = message.parent if message.role == "assistant" else id
        if not question:
            raise Refused("Nothing was asked before this message. Write something below it.")
        leaf = (await self._store.conversation(message.conversation)).leaf
        with self._replies.claimed(message.conversation) as running:
            name = message.name if message.role == "assistant" else ""
            await self._replies.answer(running, question, client, name=name)
        if message.role == "assistant" and message.state != "done" and not message.text:
            await self._store.delete_message(id)
        await self._show(message)
        self._offer_branch(client, id, leaf)

    async def go_on(self, client: Client, id: str) -> None:
        """Continue a reply: a new version that begins with the old one."""
        message = await self._store.message(id)
        if message.role != "assistant" or not message.parent:
            raise Refused("Only a reply can be continued. Choose Regenerate or write a message.")
        with self._replies.claimed(message.conversation) as running:
            await self._replies.answer(running, message.parent, client, go_on=id)
        await self._show(message)

    async def edit(self, client: Client, id: str, text: str, *, ask: bool = True) -> None:
        """Other words for a message, as a version of it. The user's are answered, unless `ask` is
        off; what follows a message that is not answered follows its new words."""
        message = await self._store.message(id)
        if not text.strip() and all(isinstance(part, Text) for part in message.parts):
            raise Refused("A message cannot be empty. Delete it instead.")
        if message.role == "user" and ask:
            edited, leaf = None, (await self._store.conversation(message.conversation)).leaf
            try:
                with self._replies.claimed(message.conversation) as running:
                    edited = await self._store.edit(id, text)
                    await self._replies.answer(running, edited.id, client)
            except Exception:
                if edited:
                    await self._pages.tell_log(message.conversation)
                raise
        else:
            self._replies.refuse_if_busy(message.conversation)
            edited = await self._store.edit(id, text, keep=True)
            await self._pages.tell_log(message.conversation, client, edited.id)
            return await self._pages.tell_list()
        await self._show(message)
        following = await self._store.history(leaf, 2)
        if len(following) > 1 and following[-2].id != id:
            self._offer_branch(client, id, leaf)

    async def version(self, client: Client, id: str, step: int) -> None:
        message = await self._store.message(id)
        self._replies.refuse_if_busy(message.conversation)
        chosen = await self._store.select_version(id, step)
        await self._pages.tell_log(message.conversation, client, chosen.id)

    async def reveal(self, client: Client, id: str) -> None:
        """Go to a message; where other versions hide it, its own are shown instead."""
        message = await self._store.message(id)
        if not await self._store.shows(id):
            self._replies.refuse_if_busy(message.conversation)
            await self._store.show_message(id)
            await self._pages.tell_log(message.conversation, but=client)
        await self._pages.move(client, message.conversation, at=id)

    async def back(self, client: Client, id: str) -> None:
        """Go back to a message, or to what stands above it where other versions hide it by now;
        not if the page was led elsewhere since."""
        if self._pages.places.is_away(client):
            return
        with suppress(Unknown):
            message = await self._store.message(id)
            while not await self._store.shows(message.id):
                message = await self._store.message(message.parent)
            await self._pages.move(client, message.conversation, at=message.id)

    async def show_again(self, client: Client, id: str) -> None:
        """Show the branch with a message, instead of what is being written."""
        message = await self._store.message(id)
        await self._replies.stop(message.conversation)
        await self._store.show_message(id)
        await self._show(message)

    async def delete_message(self, client: Client, id: str) -> None:
        message = await self._store.message(id)
        self._replies.refuse_if_busy(message.conversation)
        leaf = (await self._store.conversation(message.conversation)).leaf
        more = message.versions > 1 and leaf != id  # Another version has other followers.
        await self._store.delete_message(id)
        await self._pages.tell_log(message.conversation, client, message.parent)
        undo = {"action": "chat.undelete_message", "message": id}
        self._pages.offer_undo(WITH_MORE if more else DELETED, client, undo)

    async def undelete_message(self, client: Client, id: str) -> None:
        """Bring it back, but leave a reply that is being written where it can be seen."""
        shown = not self._replies.is_busy(await self._store.place(id))
        message = await self._store.undelete_message(id, shown=shown)
        await self._pages.tell_log(message.conversation, client, id)

    # --- conversations -----------------------------------------------------------------

    async def new(self, client: Client) -> None:
        await self._pages.move(client, "")

    async def rename(self, id: str, title: str) -> None:
        self._pages.tell_title(await self._store.rename(id, title))
        await self._pages.tell_list()

    async def delete(self, client: Client, id: str) -> None:
        """Delete a conversation, and stop what is being written in it; its pages begin anew."""
        await self._replies.stop(id)
        with self._replies.round(id):
            deleted = await self._store.delete(id)
        self._left[id] = WeakSet(page for page in self._pages.open if page.subject == id)
        await self._pages.tell_list()
        for page in list(self._left[id]):
            await self._pages.move(page, "")
        if deleted.incognito:
            return self._pages.say(FORGOTTEN, client)
        undo = {"action": "chat.undelete", "conversation": id}
        self._pages.offer_undo(f"“{deleted.title}” was deleted.", client, undo)

    async def incognito(self, client: Client) -> None:
        """Begin a conversation of which nothing is written to the disk."""
        kept = await self._store.create(INCOGNITO, incognito=True)
        await self._setups.begin(kept.id)
        await self._pages.tell_list()
        await self._pages.move(client, kept.id)

    async def keep(self, client: Client, id: str) -> None:
        """Put an incognito conversation among the others; its pages go along."""
        with self._replies.round(id):  # What is said meanwhile would be gone with the other one.
            kept = await self._store.keep(id)
        await self._pages.tell_list()
        for page in [page for page in self._pages.open if page.subject == id]:
            await self._pages.move(page, kept.id)
        self._pages.say(KEPT, client)

    async def undelete(self, id: str) -> None:
        await self._store.undelete(id)
        await self._pages.tell_list()
        for page in list(self._left.pop(id, ())):
            if not page.subject:
                await self._pages.move(page, id)

    async def _said(
        self,
        client: Client,
        conversation: str,
        action: Send,
        parts: Sequence[Part],
        parent: str | None = None,
    ) -> StoredMessage:
        """Keep what a page sends; what goes with it no longer waits there."""
        text = action.text
        words = (Text(text),) if text.strip() else ()
        enclosed = (*parts, *words) if parts else ()
        name = await self._sheet.user(conversation)
        asked = await self._store.add_user(conversation, text, parent, enclosed, name)
        if action.idempotency_key:
            self._views.sent(asked.id, action.idempotency_key)
        await self._enclosures.sent(client, parts)
        return asked

    def _offer_branch(self, client: Client, id: str, leaf: str) -> None:
        """After another version of a message began: what followed it, up to `leaf`, is hidden."""
        if leaf != id:
            undo = {"action": "chat.show_again", "message": leaf}
            self._pages.offer_undo(ANOTHER, client, undo)

    async def _show(self, message: StoredMessage) -> None:
        await self._pages.tell_log(message.conversation)
        await self._pages.tell_list()
