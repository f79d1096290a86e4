"""The keys that there are: made, changed, revoked and taken back, one change after the other."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal

from msgspec.structs import replace

from kernel.api import Extension, Key, Principal, Refused

from .api import Limits

Keys = list[Key]
LATEST = 20
"""Revoked keys that can be taken back, until Spindle ends."""


class Register:
    """Changes the keys at the door, which checks them whether this extension runs or not."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext
        self._changing = asyncio.Lock()
        self._revoked: dict[str, Key] = {}
        self._written: Keys = self.keys()

    def keys(self) -> Keys:
        """Oldest first."""
        door = self._ext.admin.access.door
        return door.keyring.made if door else []

    def limits(self, who: Principal) -> Limits:
        key = self._found(who.id) if who.kind == "key" else None
        return Limits(key.at_once, key.tokens) if key else Limits()

    def name(self, id: str) -> str:
        key = self._found(id)
        return key.name if key else ""

    async def make(
        self, name: str, scope: Literal["generate", "admin"], at_once: int, tokens: int
    ) -> tuple[str, str]:
        """The words of a new key, which nobody can look up again, and its id."""
        words = f"sk-{secrets.token_urlsafe(32)}"
        hash = hashlib.sha256(words.encode()).hexdigest()
        key = Key(name, hash, scope, time.time(), 0.0, at_once, tokens)

        def add(keys: Keys) -> Keys:
            self._free(name, keys)
            return [*keys, key]

        await self._change(add, "The key was not made")
        return words, key.id

    async def change(self, id: str, name: str, at_once: int, tokens: int) -> None:
        """Another name, other limits; they count from the next request."""
        old = self._known(id)

        def put(keys: Keys) -> Keys:
            self._free(name, [key for key in keys if key.id != id])
            new = {"name": name, "at_once": at_once, "tokens": tokens}
            return [replace(key, **new) if key.id == id else key for key in keys]

        await self._change(put, f"“{old.name}” was not changed")

    async def revoke(self, id: str) -> Key:
        """It counts no more, and what it had opened is closed."""
        key = self._known(id)
        self._revoked[id] = key
        while len(self._revoked) > LATEST:
            self._revoked.pop(next(iter(self._revoked)))
        why = f"“{key.name}” counts no more, but that would be forgotten at a restart"
        await self._change(lambda keys: [k for k in keys if k.id != id], why)
        return key

    async def bring_back(self, id: str) -> None:
        """Undo a revoking."""
        if not (key := self._revoked.get(id)):
            raise Refused("That key cannot be brought back any more. Make a new one.")

        def add(keys: Keys) -> Keys:
            self._free(key.name, keys)
            return [*(k for k in keys if k.id != id), key]

        await self._change(add, f"“{key.name}” was not brought back")
        self._revoked.pop(id, None)

    async def note(self) -> bool:
        """Write down what is not yet written, such as when a key was used; was there anything?"""
        if self.keys() == self._written:
            return False
        try:
            await self._change(lambda keys: keys, "When keys were used was not written down")
        except Refused as refusal:  # The next time may be luckier.
            self._ext.log.warning("%s", refusal)
        return True

    # --- inside ------------------------------------------------------------------------

    def _found(self, id: str) -> Key | None:
        return next((key for key in self.keys() if key.id == id), None)

    def _known(self, id: str) -> Key:
        if not (key := self._found(id)):
            raise Refused("There is no such key any more. Reload the page.")
        return key

    def _free(self, name: str, keys: Keys) -> None:
        if not name:
            raise Refused("A key needs a name. Write which program it is for.")
        if name.casefold() in {key.name.casefold() for key in keys}:
            raise Refused(f"There is a key called “{name}” already. Give another name.")

    async def _change(self, change: Callable[[Keys], Keys], failure: str) -> None:
        door = self._ext.admin.access.door
        if not door:
            raise Refused("Nothing is served here, so there are no keys. Start the server.")
        async with self._changing:
            keys = change(door.keyring.made)
            try:
                await self._ext.thread(door.keyring.keep, keys)
                self._written = keys
            except OSError as error:
                why = error.strerror or str(error)
                raise Refused(f"{failure}: {why}. Make room in the data folder.") from error
            finally:
                door.drop_keys()
