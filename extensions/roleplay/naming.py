"""A reply in the name of a character does not begin with that name: it stands before it already."""

from collections.abc import AsyncIterator

from msgspec import structs

from extensions.characters.api import Library
from extensions.prompts.api import Options
from kernel.api import Delta, Refused, Turn

from .given import pair_of
from .lines import names

MODES = ("chat", "chat-instruct")


class Beginning:
    """The begin of one reply, held until it is known whether it is a name."""

    def __init__(self, char: str) -> None:
        self._name, self._begins = f"{char}:", names(char)
        self._held: list[Delta] = []
        self.over = False

    def hear(self, delta: Delta) -> Delta | None:
        """What may be shown by now, with all that was held."""
        self._held = [delta] if delta.replace else [*self._held, delta]
        text = "".join(each.text for each in self._held)
        rest = text.lstrip()
        spaces = rest.startswith(self._name) and not rest[len(self._name) :].strip()
        if not rest or self._name.startswith(rest) or spaces:
            return None
        return self.end()

    def end(self) -> Delta | None:
        """What was held, without the name."""
        self.over = True
        if not self._held:
            return None
        text = "".join(each.text for each in self._held)
        tokens = tuple(token for each in self._held for token in each.tokens)
        found = self._begins.match(text)
        text = text[found.end() :] if found else text
        return structs.replace(self._held[0], text=text, tokens=tokens, marks=())


class Naming:
    """The modifier of OUTPUT."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def strip(self, deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        if turn.mode not in MODES or turn.continue_ or turn.prompt is not None:
            return deltas  # It goes on with words, or is in nobody's name.
        return self._stripped(deltas, turn)

    async def _stripped(self, deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        char = await self._char(turn)
        begun: dict[int, Beginning] = {}
        async for delta in deltas:
            if not char or delta.channel != "text":
                yield delta
                continue
            if delta.replace or delta.choice not in begun:
                begun[delta.choice] = Beginning(char)
            beginning = begun[delta.choice]
            shown = delta if beginning.over else beginning.hear(delta)
            if shown:
                yield shown
        for beginning in begun.values():
            if not beginning.over and (shown := beginning.end()) and shown.text:
                yield shown

    async def _char(self, turn: Turn) -> str:
        """Whose name a reply may repeat; nobody's where it goes on with words."""
        try:
            options = Options.of(turn)
            if options.start_reply_with and not options.impersonate:
                return ""
            character, persona = await pair_of(self._library, options)
            return persona.name if options.impersonate else character.char
        except Refused:  # The reply itself has said it.
            return ""
