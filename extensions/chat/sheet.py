"""The sheet with a conversation's setup: what it offers, and what of it makes sense now."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol, cast

from markupsafe import Markup
from msgspec import structs

from extensions.conversations.api import StoredMessage
from extensions.prompts.api import CAST, PROMPTS, Face
from kernel.api import MODES, UNSET, Client, Extension, Refused

from .greetings import Greetings
from .markdown import Markdown
from .setup import Setup, Setups, as_typed
from .speaking import SPEAKERS, Speaker

WHY = {
    "own": "The model's own.",
    "set": "“{}”, as you chose for this model.",
    "saved": "“{}”, as is saved beside this model.",
    "name": "“{}”: the model brings none, and this is what its name says.",
    "guess": "“{}”, a guess: the model brings none, and its name says nothing. Look whether the"
    " replies are good, or choose another one.",
}
THINKING = {
    "enable_thinking": ("enable_thinking", "thinking_budget"),
    "reasoning_effort": ("reasoning_effort",),
    "preserve_thinking": ("preserve_thinking",),
}
"""Each control, and the words in a template's text that say it knows it."""


class Wanting(Protocol):
    """A mode that says which options it reads."""

    wants: tuple[str, ...]


class Sheet:
    """Contexts of _setup.html."""

    def __init__(self, ext: Extension[Any], setups: Setups, markdown: Markdown) -> None:
        self._ext, self._setups = ext, setups
        self._drawn = lru_cache(100)(markdown.render)
        self.greetings = Greetings()

    async def context(self, conversation: str, client: Client | None = None) -> dict[str, Any]:
        """The `setup` of _setup.html; without a conversation that of a page."""
        setup = await self._setups.of(conversation)
        modes = self._ext.get(MODES)
        wants: tuple[str, ...] = ()
        command = ""
        for mode in modes:
            if mode.id == setup.mode:
                wants = cast(Wanting, mode).wants if hasattr(mode, "wants") else ()
                command = getattr(mode, "usual_command", "")
        face, cast_ = await self.face(conversation, client), {}
        several, button = await self._several(conversation) if "character" in wants else ((), "")
        shown = self.greetings.shown(
            conversation or (client.id if client else ""), len(face.greetings) if face else 0
        )
        if "character" in wants:
            cast_ = {
                "characters": await self._people("characters"),
                "personas": await self._people("personas"),
            }
        labels = {mode.id: mode.label for mode in modes}
        return {
            "mode": setup.mode,
            "label": labels.get(setup.mode, setup.mode),
            "modes": [*labels.items()],
            "wants": wants,
            "options": setup.options,
            "stopping_strings": as_typed(setup.options.stopping_strings),
            "usual_command": command,
            "face": face,
            "group": {"button": button} if several else None,
            "greeting": shown,
            "greeting_html": await self._greeting(face.greetings[shown])
            if face and face.greetings
            else "",
            **cast_,
            **self._template(setup, wants),
        }

    def mode_with(self, option: str, now: str) -> str:
        """A mode that reads this option: the one of now, if it does; raises Refused."""
        ids = [mode.id for mode in self._ext.get(MODES) if option in getattr(mode, "wants", ())]
        if not ids:
            raise Refused(f"No way of talking with a {option} is switched on. See Settings.")
        return now if now in ids else ids[0]

    async def face(self, conversation: str, client: Client | None = None) -> Face | None:
        """The character of a conversation, if it has one, with the greetings that say something;
        without a conversation that of a page."""
        face = next(iter(await self.faces(conversation, client)), None)
        said = tuple(text for text in face.greetings if text.strip()) if face else ()
        return structs.replace(face, greetings=said) if face else None

    async def personas(self, conversation: str) -> Sequence[Face]:
        """Everybody as whom the user may speak in a conversation; first who that is now, without a
        name where nobody was chosen. Nobody where the mode has no characters."""
        setup = await self._setups.of(conversation)
        if not self._has_characters(setup):
            return ()
        found = await self._people("personas")
        me = next((each for each in found if each.id == setup.options.persona), Face("", ""))
        return (me, *found)

    async def user(self, conversation: str) -> str:
        """What the user is called in the prompts of a conversation; nothing where its mode has no
        characters."""
        if not (personas := await self.personas(conversation)):
            return ""
        if personas[0].name:
            return personas[0].name
        persona = (await self._setups.of(conversation)).options.persona
        for face in (await self.faces(conversation))[:1]:
            for cast_ in self._ext.get(CAST):
                with suppress(Refused):
                    return await cast_.expand(
                        "{{user}}", face.id, persona, conversation=conversation, seed=""
                    )
        return ""

    async def faces(self, conversation: str, client: Client | None = None) -> Sequence[Face]:
        """Everybody of a conversation; who begins it comes first."""
        setup = await self._setups.of(conversation)
        if not self._has_characters(setup):
            return ()
        if several := (await self._several(conversation))[0]:
            return several
        place = conversation or self.greetings.place(client.id if client else "")
        face = await self._face(setup, place)
        return (face,) if face else ()

    async def speaker(
        self, conversation: str, said: Sequence[StoredMessage], name: str = "", id: str = ""
    ) -> Speaker:
        """Who says the next reply; nobody's name where the mode has no characters."""
        setup = await self._setups.of(conversation)
        if not self._has_characters(setup):
            return Speaker()
        for speakers in self._ext.get(SPEAKERS):
            if found := await speakers.speaker(conversation, said, name, id):
                return found
        face = await self._face(setup, conversation)
        return Speaker(face.name if face else "")

    async def name(self, conversation: str, said: Sequence[StoredMessage]) -> str:
        """Who says what a person writes in the model's place: who is next, muted or not."""
        try:
            return (await self.speaker(conversation, said)).name
        except Refused:
            return next((m.name for m in reversed(said) if m.role == "assistant"), "")

    async def begins(self, conversation: str, who: Speaker, many: int) -> str:
        """How the setup lets each reply begin, with the names of those who talk; so many messages
        were said."""
        setup = await self._setups.of(conversation)
        options = who.of(setup.options)
        if self._has_characters(setup) and options.character and options.start_reply_with:
            for cast_ in self._ext.get(CAST):
                with suppress(Refused):  # The character's file is gone: the reply says so.
                    return await cast_.expand(
                        options.start_reply_with,
                        options.character,
                        options.persona,
                        conversation=conversation,
                        seed=f"{conversation} {many}",
                    )
        return options.start_reply_with

    # --- inside ------------------------------------------------------------------------

    async def _several(self, conversation: str) -> tuple[Sequence[Face], str]:
        """Everybody, where another extension says who speaks, and the id of its button."""
        for speakers in self._ext.get(SPEAKERS):
            if found := await speakers.faces(conversation):
                return found, speakers.button
        return (), ""

    async def _greeting(self, text: str) -> Markup:
        """A greeting as it will look."""
        return Markup((await self._ext.thread(self._drawn, text)).strip())

    def _has_characters(self, setup: Setup) -> bool:
        mode = next((m for m in self._ext.get(MODES) if m.id == setup.mode), None)
        return "character" in getattr(mode, "wants", ())

    async def _face(self, setup: Setup, place: str) -> Face | None:
        if not setup.options.character:
            return None
        for cast_ in self._ext.get(CAST):
            try:
                return await cast_.face(setup.options.character, setup.options.persona, place)
            except Refused:  # Its file is gone: the reply says so.
                continue
        return None

    async def _people(self, which: str) -> list[Face]:
        found: list[Face] = []
        for cast_ in self._ext.get(CAST):
            found += await getattr(cast_, which)()
        return found

    def _template(self, setup: Setup, wants: tuple[str, ...]) -> Mapping[str, Any]:
        """Which templates there are, why this one, and what it knows of thinking."""
        if "template" not in wants:
            return {"thinks": (), "templates": (), "why": ""}
        prompts, model = self._ext.one(PROMPTS), self._ext.slot().model
        try:
            chosen = prompts.chosen(name=setup.options.template)
        except Refused as refusal:
            return {"thinks": (), "templates": prompts.names(), "why": str(refusal)}
        source = chosen.source or (model.info.chat_template if model else "")
        thinks = [n for n, words in THINKING.items() if any(word in source for word in words)]
        kept = [n for n in THINKING if getattr(setup.options, n) is not UNSET]
        return {
            "thinks": thinks if model else kept or thinks,
            "templates": prompts.names(),
            "why": WHY.get(chosen.how, "").format(chosen.name) if model else "",
        }
