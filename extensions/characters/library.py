"""The library: every character and persona as its file says now, and the scenes made of them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Lock, RLock
from typing import Any, TypeVar

from msgspec import structs

from kernel.api import Extension, Message, Refused, Struct

from .folder import Folder, Place, Unreadable
from .personas import Personas
from .pictures import CHARACTERS, address
from .reading import character_of
from .records import Character, Company, Count, Note, Persona, Scene
from .renames import Renames
from .scenes import ALONE, guessed, macros_of, scene_of
from .together import about, together
from .worlds import SHELVES, Worlds

T = TypeVar("T")
LINK = "{} is a link to another folder. Copy the file here, or link the whole folder."


class LibraryChanged(Struct, frozen=True):
    """Characters or personas came, went or changed."""


class Renamed(Struct, frozen=True):
    """A character got another id: whoever keeps the old one takes the new one."""

    old: str
    new: str


class Library:
    """Finds characters and personas by their ids, and makes scenes of them."""

    def __init__(self, ext: Extension[Any]) -> None:
        self.folder = Folder(ext.characters)
        self.people = Personas(ext.data_root / "users")
        self.worlds = Worlds(ext.data_root / "worlds")
        self._ext = ext
        self._known: dict[str, tuple[object, Character | Unreadable]] = {}
        """What was read last, with the stamp that its files had then."""
        self._linked: list[Unreadable] = []
        self._renames = Renames(ext.data / "renamed.json")
        self._looking, self._closed = Lock(), False
        self.alone = RLock()
        """Held, in a thread, by whoever changes files: of two changes at once none is lost."""

    def close(self) -> None:
        """Read no further."""
        self._closed = True

    async def change(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run in a thread what changes files, and nothing else of that kind meanwhile."""

        def changing() -> T:
            with self.alone:
                return work(*arguments)

        return await self._ext.thread(changing)

    # --- characters ---------------------------------------------------------------------

    async def all(self) -> list[Character]:
        """All that can be read, in the order of the alphabet."""
        found = await self._ext.thread(self._look)
        return [each for each in found if isinstance(each, Character)]

    def read_so_far(self) -> list["Character | Unreadable"]:
        """What was read already, in the order of the alphabet: nothing is waited for."""
        found = [found for _, (_, found) in sorted(self._known.items(), key=_alphabet)]
        return [*found, *self._linked]

    async def troubles(self) -> list[str]:
        """Sentences about files that cannot be read."""
        found = await self._ext.thread(self._look)
        return [str(each) for each in found if not isinstance(each, Character)]

    async def get(self, id: str) -> Character:
        """One character; raises Refused, with a sentence, where there is none or it is damaged."""
        found = await self._ext.thread(self._get, id)
        if found.id != id:  # Whoever keeps the old one was not there when it was told.
            self._ext.emit(Renamed(id, found.id))
        return found

    def rename(self, id: str, to: str) -> str:
        """Give a character another id, as near to it as files may have; answers that. Blocking:
        for `change`."""
        new = self.folder.rename(self.folder.place(id), to)
        if new != id:
            with suppress(OSError):  # A full disk: who listens now hears of it all the same.
                self._renames.keep(id, new)
        return new

    def picture(self, place: Place) -> str:
        """The address of a character's picture, or ""."""
        return address(CHARACTERS, place)

    # --- personas -----------------------------------------------------------------------

    async def personas(self) -> list[Persona]:
        """All personas, in the order of the alphabet."""
        return await self._ext.thread(self.people.all)

    async def persona(self, id: str = "") -> Persona:
        """That persona; the default one where there is none of that id."""
        for each in dict.fromkeys((id, self._ext.settings.persona)):
            if each:
                try:
                    return await self._ext.thread(self.people.get, each)
                except Refused:
                    continue
        return Persona()

    @property
    def everywhere(self) -> Sequence[str]:
        """The lorebooks that are told in every conversation."""
        return self._ext.settings.worlds

    # --- what a mode builds on -----------------------------------------------------------

    async def scene(
        self,
        character: Character | str,
        persona: Persona | str = "",
        history: Sequence[Message] = (),
        *,
        system: str = "",
        post_history: str = "",
        note: Note | None = None,
        count: Count = guessed,
        budget: int | None = None,
        seed: int | str = 0,
        conversation: str = "",
        idle: timedelta | None = None,
        now: datetime | None = None,
        continuing: bool = False,
        company: Company = ALONE,
    ) -> Scene:
        """What a model is told in this conversation.

        `history` is all that was said, the user's new message too. `system` and `post_history` are
        the general texts that the character's own replace, or name as `{{original}}`. `note` is
        the conversation's author's note. `count` tells the tokens of a text; lore has at most
        `budget` of them, and no more than its book says. The same `seed` gives the same dice and
        chances; `conversation` decides what `{{pick}}` says. `continuing`: the last message goes
        on, and nothing is put after it. `company` are all characters of a conversation of several.
        """
        character, persona = await self.pair(character, persona)
        macros = macros_of(
            character,
            persona,
            history,
            seed=seed,
            conversation=conversation,
            now=now,
            idle=idle,
            company=company,
        )
        return await scene_of(
            await self._with_lore(character, conversation),
            persona,
            history,
            macros,
            aside=self._ext.thread,
            note=note,
            system=system,
            post_history=post_history,
            count=count,
            budget=budget,
            seed=seed,
            continuing=continuing,
        )

    async def expand(
        self,
        text: str,
        character: Character | str,
        persona: Persona | str = "",
        history: Sequence[Message] = (),
        *,
        seed: int | str = 0,
        conversation: str = "",
        idle: timedelta | None = None,
        now: datetime | None = None,
        company: Company = ALONE,
    ) -> str:
        """A text with its macros expanded, as in a scene of the two."""
        character, persona = await self.pair(character, persona)
        macros = macros_of(
            character,
            persona,
            history,
            seed=seed,
            conversation=conversation,
            now=now,
            idle=idle,
            company=company,
        )
        return macros.expand(text)

    async def pair(
        self, character: Character | str, persona: Persona | str
    ) -> tuple[Character, Persona]:
        """Both by their ids; the default persona is called what the character calls the user."""
        if isinstance(character, str):
            character = await self.get(character)
        if isinstance(persona, str):
            given = persona
            persona = await self.persona(persona)
            if not persona.id and not given and character.user_name:
                persona = structs.replace(persona, name=character.user_name)
        return character, persona

    # --- inside -------------------------------------------------------------------------

    async def _with_lore(self, character: Character, conversation: str) -> Character:
        """The character with all lorebooks of the conversation as its own."""
        settings = self._ext.settings
        names = [*character.worlds, *settings.worlds]
        for shelf in self._ext.get(SHELVES):
            names += await shelf.worlds(conversation) if conversation else ()
        worlds = await self._ext.thread(self.worlds.books, names) if names else {}
        own = character.book
        if own and own.name in character.worlds and own.name in worlds:
            own = None  # A copy of the world, which came with its card.
        books = [*([own] if own else ()), *worlds.values()]
        book = together(books, settings.scan_depth, settings.lore_tokens)
        return structs.replace(character, book=about(book, character) if book else None)

    def _get(self, id: str) -> Character:
        try:
            place = self.folder.place(id)
        except Refused:
            if not (new := self._renames.new(id)):
                raise
            place = self.folder.place(new)
        else:
            with suppress(OSError):
                self._renames.forget(id)
        found = self._read(place)
        if isinstance(found, Unreadable):
            raise found
        return found

    def _look(self) -> list[Character | Unreadable]:
        with self._looking:  # A large folder takes a while the first time: once is enough.
            places = self.folder.places()
            self._linked = [Unreadable(LINK.format(name)) for name in self.folder.linked()]
            for gone in self._known.keys() - places.keys():
                self._known.pop(gone, None)
            read = (self._read(place) for place in places.values() if not self._closed)
            return [*read, *self._linked]

    def _read(self, place: Place) -> Character | Unreadable:
        """What lies there; read again only after a change."""
        try:
            stamp = place.stamp()
        except OSError:
            return Unreadable(f"{place.file.name} is gone. Look at the folder.")
        known = self._known.get(place.id)
        if known and known[0] == stamp:
            return known[1]
        try:
            found = character_of(place.id, self.folder.read(place), address(CHARACTERS, place))
        except Unreadable as trouble:
            found = Unreadable(str(trouble))
        except Exception:  # Whatever a file does to its reader, the others are shown.
            self._ext.log.exception("%s cannot be read.", place.file)
            found = Unreadable(f"{place.file.name} cannot be read. The log says why.")
        self._known[place.id] = stamp, found
        return found


def _alphabet(item: tuple[str, object]) -> tuple[str, str]:
    return item[0].casefold(), item[0]
