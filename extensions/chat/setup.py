"""How a conversation is set up: its mode, and what the mode is told; kept with the conversation."""

import ast
import json
from typing import Annotated, Any

import msgspec
from msgspec import structs

from extensions.conversations.api import Store, Unknown, is_secret
from extensions.prompts.api import CAST, Options
from kernel.api import MODES, UNSET, Extension, Meta, Refused, Struct, built, write

from .actions import SetUp

CHARACTERS = "chat"
"""The mode of those who speak by a name."""
LATELY = 20
"""Messages at the end of a conversation in which somebody speaks who is in it."""
SWITCHES = {"": UNSET, "on": True, "off": False}
"""What the page says of a switch that may be left alone."""


@built
class Setup(Struct, frozen=True):
    """A conversation's mode and the options of its turns."""

    mode: Annotated[str, Meta(max_length=64)] = "instruct"
    options: Options = Options()


class Setups:
    """The service at SETUPS: every conversation's setup; a new one takes the last that was made,
    and one that was imported goes on with its character."""

    def __init__(self, ext: Extension[Any], store: Store) -> None:
        self._ext, self._store = ext, store
        self._file = ext.data / "setup.json"
        self._last = Setup()

    async def load(self) -> None:
        """Read what the last conversation had."""
        try:
            data = await self._ext.thread(self._file.read_bytes)
            self._last = msgspec.json.decode(data, type=Setup)
        except (OSError, msgspec.DecodeError):
            self._last = Setup()

    async def of(self, conversation: str) -> Setup:
        """The setup of a conversation, or of one that is not begun."""
        if not conversation:
            return self._last
        kept = await self._store.state(conversation, "chat", "setup")
        if kept is None:
            return await self._guessed(conversation)
        try:
            return msgspec.convert(kept, Setup)
        except msgspec.ValidationError:
            return Setup()

    async def _guessed(self, conversation: str) -> Setup:
        """How one goes on that came from elsewhere: with who spoke last, if that is somebody here.
        What was chosen in another conversation does not concern it."""
        try:
            said = (await self._store.get(conversation, LATELY)).messages
        except Unknown:  # The address leads nowhere: it is a new one.
            return self._last
        name = next((m.name for m in reversed(said) if m.role == "assistant" and m.name), "")
        talks = name and any(mode.id == CHARACTERS for mode in self._ext.get(MODES))
        for cast in self._ext.get(CAST) if talks else ():
            faces = await cast.characters()
            called = [face.id for face in faces if face.name == name]
            called += [face.id for face in faces if face.id == name]  # So some programs call them.
            if called:
                return Setup(CHARACTERS, Options(character=called[0]))
        return Setup()

    async def keep(self, conversation: str, setup: Setup) -> None:
        """Set a conversation up; the next new one begins with the same."""
        if conversation:
            value = msgspec.to_builtins(setup)
            await self._store.set_state(conversation, "chat", "setup", value)
        if setup != self._last and not is_secret(conversation):
            await self._begin_with(setup)

    async def begin(self, conversation: str) -> None:
        """A conversation that has just begun keeps what it began with."""
        if await self._store.state(conversation, "chat", "setup") is None:
            await self.keep(conversation, self._last)

    async def renamed(self, old: str, new: str) -> None:
        """A character has another id: its conversations go on with it, those in the trash too."""

        def change(kept: Any) -> Any:
            options = kept.get("options") if isinstance(kept, dict) else None
            if not isinstance(options, dict) or options.get("character") != old:
                return None
            return {**kept, "options": {**options, "character": new}}

        await self._store.change_states("chat", "setup", change)
        if changed := change(msgspec.to_builtins(self._last)):
            await self._begin_with(msgspec.convert(changed, Setup))

    async def _begin_with(self, setup: Setup) -> None:
        """What the next new conversation begins with, after a restart too if the disk takes it."""
        self._last = setup
        try:
            await self._ext.thread(write, self._file, msgspec.json.encode(setup))
        except OSError as error:
            self._ext.log.warning("%s was not written: %s", self._file, error)

    async def take(self, action: SetUp) -> Setup:
        """What the sheet of the page says, over what was so; raises Refused."""
        before = await self.of(action.conversation)
        typed = {k: v for k, v in structs.asdict(action).items() if v is not UNSET}
        del typed["conversation"]
        mode = typed.pop("mode", before.mode)
        for name in ("enable_thinking", "preserve_thinking"):
            if name in typed:
                typed[name] = SWITCHES.get(typed[name], UNSET)
        if "stop_at_newline" in typed:
            typed["stop_at_newline"] = typed["stop_at_newline"] == "on"
        if "stopping_strings" in typed:
            typed["stopping_strings"] = strings_of(typed["stopping_strings"])
        if typed.get("reasoning_effort") == "":
            typed["reasoning_effort"] = UNSET
        options = structs.replace(before.options, **typed)
        try:
            setup = msgspec.convert(msgspec.to_builtins(Setup(mode, options)), Setup)
        except msgspec.ValidationError as error:
            raise Refused(f"The setup was not changed: {error}. Correct it.") from None
        try:
            await self.keep(action.conversation, setup)
        except Unknown:
            raise Refused("This conversation is gone. Begin another one.") from None
        return setup


def strings_of(text: str) -> tuple[str, ...]:
    """Stopping strings as they are typed: quoted ones with commas between, or one a line."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        try:
            read = ast.literal_eval(f"[{text}]")
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise Refused(
                'Stopping strings are written "one", "two", or one a line. Look at the quotes.'
            ) from None
        return tuple(str(each) for each in read if each)
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def as_typed(strings: tuple[str, ...]) -> str:
    """The same as they are shown."""
    return ", ".join(json.dumps(each, ensure_ascii=False) for each in strings)
