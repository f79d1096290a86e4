"""What opens the door: keys, launch links, a password, and the sessions they begin."""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from kernel.files import set_aside, write
from kernel.sampling import Struct, built

log = logging.getLogger(__name__)
DAYS = 90
"""How long a browser stays signed in."""


@built
class Key(Struct, frozen=True):
    """A key that a person made. Its words are shown once; what is kept of them is a hash.

    `scope` is "admin", all that the owner's own key may, or "generate", replies alone; `made` and
    `used` are seconds since 1970; `at_once` requests and `tokens` a minute, 0 being no limit.
    """

    name: str
    hash: str
    scope: Literal["generate", "admin"] = "generate"
    made: float = 0.0
    used: float = 0.0
    at_once: int = 0
    tokens: int = 0

    @property
    def id(self) -> str:
        """Of the principal who comes with it."""
        return self.hash[:12]


class TooMany(Exception):
    """Too many wrong tries; `seconds` are left until the next."""

    def __init__(self, left: float) -> None:
        self.seconds = int(left) + 1
        super().__init__(f"Too many wrong tries. Wait {self.seconds} seconds.")


class Keyring:
    """Says who may come in. Seal and key lie in `folder`, so that sessions survive a restart;
    they end with the password, which is part of what signs them."""

    def __init__(
        self,
        folder: Path,
        password: str = "",
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._clock = folder, clock
        self._ticks = ticks  # For pauses: nobody waits for what a clock was set back by.
        self._left = self._signed_out()
        self._seal = bytes.fromhex(
            self._kept("session_key", "[0-9a-f]{64}", lambda: secrets.token_hex(32))
        )
        self.key = self._kept("api_key", "[!-~]+", new_key)
        self._made, self._used = self._read_made(), dict[str, float]()
        self._links: set[str] = set()
        self._tries: dict[str, tuple[int, float]] = {}
        self._one = asyncio.Lock()
        self.set_password(password)

    def set_password(self, password: str) -> None:
        self._password = self._hash(password) if password else b""
        self._signer = hmac.digest(self._seal, b"session" + self._password, "sha256")

    @property
    def made(self) -> list[Key]:
        """The keys that a person made, oldest first, with when each was used last."""
        keys = self._made.values()
        return [msgspec.structs.replace(k, used=self._used.get(k.id, k.used)) for k in keys]

    def keep(self, keys: Iterable[Key]) -> None:
        """Let in who has one of these or the owner's, and nobody else; blocks while it writes.

        What is left out counts no more even if that cannot be written (OSError).
        """
        kept = {key.hash: key for key in keys}
        self._made = {hash: key for hash, key in self._made.items() if hash in kept}
        write(self._folder / "keys.json", msgspec.json.encode([*kept.values()]), 0o600)
        self._made = kept

    def find(self, said: str) -> Key | None:
        """The key with these words; the owner's own has no name."""
        hash = hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()
        if self.knows(said):
            return Key("", hash, "admin")
        if key := self._made.get(hash):
            self._used[key.id] = self._clock()
        return key

    def counts(self, id: str) -> bool:
        """Whether the key of a principal still opens anything."""
        owner = hashlib.sha256(self.key.encode()).hexdigest()
        return id in {owner[:12], *(key.id for key in self._made.values())}

    async def watch(self, changed: Callable[[str], None], every: float = 1) -> None:
        """Follow the key's file for ever: another key in it counts; when it goes a new is made."""
        file = self._folder / "api_key"
        there = file.exists()
        while True:
            await asyncio.sleep(every)
            with suppress(OSError, UnicodeError):
                if not there and not file.exists():  # It was never written, as on a full disk.
                    write(file, self.key.encode(), 0o600)
                there = True
                if (key := self._kept("api_key", "[!-~]+", new_key)) != self.key:
                    self.key, there = key, file.exists()
                    changed(key)

    @property
    def has_password(self) -> bool:
        return bool(self._password)

    def link(self) -> str:
        """A token for one launch link; it opens once."""
        self._links.add(token := secrets.token_urlsafe(24))
        return token

    def begin(self) -> str:
        """The cookie of a new session."""
        said = f"{secrets.token_urlsafe(12)}.{int(self._clock()):x}"
        return f"{said}.{self._sign(said)}"

    def session(self, cookie: str) -> str:
        """The id of a session; empty if the cookie is none of ours, too old or signed out."""
        said, _, signature = cookie.rpartition(".")
        id, _, issued = said.partition(".")
        if not same(signature, self._sign(said)) or id in self._left:
            return ""
        return id if self._clock() - int(issued, 16) < DAYS * 86400 else ""

    def end(self, id: str) -> None:
        """A session counts no more; until the next start where that cannot be written (OSError)."""
        self._left |= {id}
        write(self._folder / "signed_out", "\n".join({*self._left}).encode(), 0o600)

    def leave(self, id: str) -> None:
        """End it, and tell only the log where it was not written."""
        try:
            self.end(id)
        except OSError as error:
            log.warning("A sign-out counts until the next start: it was not kept (%s).", error)

    def knows(self, key: str) -> bool:
        return same(key, self.key)

    def opens(self, token: str) -> bool:
        """Whether this launch link is unused, and use it up. Nobody guesses one, so nothing is
        counted: a foreign page may make a browser try any number of them."""
        link = next((link for link in self._links if same(token.strip(), link)), "")
        self._links.discard(link)
        return bool(link)

    async def admit(self, said: str, address: str) -> bool:
        """Whether this launch token, key or password is right; slower with each wrong one, but
        never for who has the token or the key."""
        if self.opens(said) or self.knows(said.strip()):
            return True
        wrong, until = self._tries.get(address, (0, 0.0))
        if (left := until - self._ticks()) > 0:
            raise TooMany(left)
        pause = min(60, 2 ** (wrong - 9)) if wrong >= 9 else 0
        self._tries[address] = (wrong + 1, self._ticks() + pause)
        while len(self._tries) > 1000:
            self._tries.pop(next(iter(self._tries)))
        if not self._password:
            return False
        async with self._one:  # one at a time: hashing is slow on purpose
            right = same(await asyncio.to_thread(self._hash, said), self._password)
        if right:
            self._tries.pop(address, None)
        return right

    def _hash(self, password: str) -> bytes:
        return hashlib.scrypt(password.encode(), salt=self._seal, n=2**14, r=8, p=1)

    def _sign(self, said: str) -> str:
        return hmac.digest(self._signer, said.encode(), "sha256").hex()

    def _kept(self, name: str, form: str, make: Callable[[], str]) -> str:
        """What a file holds; a new one where there is none, or not what belongs there."""
        file = self._folder / name
        if file.exists():
            kept = file.read_text("utf-8", "replace").strip()
            if re.fullmatch(form, kept):
                return kept
            set_aside(file, "A new one is made: sign in again, and give programs the new key.")
        kept = make()
        with suppress(OSError):  # It is good for as long as Spindle runs.
            write(file, kept.encode(), 0o600)
        return kept

    def _read_made(self) -> dict[str, Key]:
        file = self._folder / "keys.json"
        try:
            keys = msgspec.json.decode(file.read_bytes(), type=list[Key])
        except FileNotFoundError:
            return {}
        except ValueError:
            set_aside(file, "The keys made in Settings count no more: make new ones.")
            return {}
        return {key.hash: key for key in keys}

    def _signed_out(self) -> set[str]:
        """Sessions that ended; when that cannot be read any more, all of them end."""
        file = self._folder / "signed_out"
        try:
            return set(file.read_text("ascii").split())
        except FileNotFoundError:
            return set()
        except ValueError:
            set_aside(file, "Everyone is signed out.")
            (self._folder / "session_key").unlink(missing_ok=True)
            return set()


MADE = re.compile(r"sk-[\w-]{43}", re.ASCII)
"""A key that was made here. What programs send for want of one looks otherwise."""


def new_key() -> str:
    return f"sk-{secrets.token_urlsafe(32)}"


def same(a: str | bytes, b: str | bytes) -> bool:
    """Compare in a time that tells nothing, not even the length."""
    a, b = (x.encode("utf-8", "replace") if isinstance(x, str) else x for x in (a, b))
    return hmac.compare_digest(hashlib.sha256(a).digest(), hashlib.sha256(b).digest())
