"""How a conversation with a character begins: with one of its greetings, the others as versions."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from extensions.conversations.api import Store
from kernel.api import Client, Refused

from .actions import SetUp
from .pages import Pages
from .setup import Setups
from .sheet import Sheet


class Beginnings:
    """What a person can do before anything was said."""

    def __init__(self, store: Store, pages: Pages, setups: Setups, sheet: Sheet) -> None:
        self._store, self._pages, self._setups, self._sheet = store, pages, setups, sheet
        self._beginning = WeakSet[Client]()

    async def come(self, client: Client, box: str) -> None:
        """Offer a page that comes back the greeting that it had."""
        if self._sheet.greetings.come(client.id, box) and not client.subject:
            await self._pages.tell_empty(client)

    async def begin(self, client: Client, step: int) -> None:
        """Begin a conversation with the character's greeting that is offered, or another one; one
        that has begun stays as it is."""
        with self._once(client) as first:
            if not first or await self._said(client.subject):
                return
            if not (conversation := await self.greeted(client, client.subject, step)):
                raise Refused("This character has no greeting. Write the first message.")
            await self._pages.move(client, conversation)
            await self._pages.tell_list()

    async def greet(self, client: Client, step: int) -> None:
        """Offer another greeting of the character, while nothing was said yet."""
        conversation = client.subject
        said = await self._said(conversation)
        face = await self._sheet.face(conversation, client)
        if said or not face or len(face.greetings) < 2:
            raise Refused("There is no other greeting. Write the first message.")
        self._sheet.greetings.turn(conversation or client.id, step)
        if conversation:
            await self._pages.tell_log(conversation)
        else:
            await self._pages.tell_empty(client)

    async def start(self, client: Client, character: str) -> None:
        """Begin a conversation with a character, in a mode that has one; a page that shows one in
        which only the greeting was said has it already."""
        with self._once(client) as first:
            if first and not await self._has_begun(client, character):
                await self._start(client, character)

    async def _start(self, client: Client, character: str) -> None:
        mode = self._sheet.mode_with("character", (await self._setups.of("")).mode)
        await self._setups.take(SetUp(mode=mode, character=character))
        self._sheet.greetings.forget(client.id)
        await self._pages.tell_setup("")
        await self._pages.move(client, await self.greeted(client, ""))
        await self._pages.tell_list()

    async def greeted(self, client: Client, conversation: str, step: int = 0) -> str:
        """The conversation, a new one without an id, which begins with the character's greetings as
        versions if nothing was said in it; none where there is no greeting."""
        if await self._said(conversation):
            return ""
        face = await self._sheet.face(conversation, client)
        if not face or not face.greetings:
            return ""
        greetings = face.greetings
        at = conversation or client.id
        shown = (self._sheet.greetings.shown(at, len(greetings)) + step) % len(greetings)
        self._sheet.greetings.forget(at)
        greeting = await self._store.add_greetings(conversation, greetings, shown, face.name)
        await self._setups.begin(greeting.conversation)
        return greeting.conversation

    # --- inside ------------------------------------------------------------------------

    @contextmanager
    def _once(self, client: Client) -> Iterator[bool]:
        """Whether nothing is being begun for a page already, as by the first of two taps."""
        first = client not in self._beginning
        self._beginning.add(client)
        try:
            yield first
        finally:
            if first:
                self._beginning.discard(client)

    async def _said(self, conversation: str) -> bool:
        """Whether anything was said in a conversation."""
        return bool(conversation and (await self._store.conversation(conversation)).leaf)

    async def _has_begun(self, client: Client, character: str) -> bool:
        if client.tab not in ("", "chat") or not client.subject:
            return False
        said = (await self._store.get(client.subject, 2)).messages
        face = await self._sheet.face(client.subject)
        greeted = len(said) == 1 and said[0].role == "assistant"
        return greeted and face is not None and face.id == character
