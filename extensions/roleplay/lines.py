"""A character's conversation as messages with names, of which a template makes `Name: text`."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from msgspec import structs

from extensions.characters.api import Character, Company, Library, Persona, Scene
from extensions.prompts.api import Options, system
from kernel.api import UNSET, Message, Struct, Text, Turn

from .given import pair_of
from .others import company_of, introduced, others_of

LINES = """\
{% for message in messages %}
{% if message.role != 'system' %}
{{ message.name or (name1 if message.role == 'user' else name2) }}: {{ message.content }}
{% else %}
{{ message.content }}
{% if loop.first %}

{% endif %}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ name2 }}:{% endif %}"""
"""The chat template, where a conversation has none of its own."""


class Play(Struct, frozen=True):
    """A turn of a character's conversation."""

    options: Options
    scene: Scene
    character: Character
    persona: Persona
    messages: tuple[Message, ...]
    """The system message first, if there is one, and the user's or the reply's beginning last."""
    continue_: bool
    seed: int | str
    """Of all dice of this turn."""
    others: tuple[str, ...] = ()
    """The names of other characters who are there."""
    company: Company = Company()
    """All who are there."""

    @property
    def speaker(self) -> str:
        """Who speaks next."""
        return self.scene.user if self.options.impersonate else self.scene.char

    @property
    def template(self) -> str:
        return self.options.chat_template or LINES

    def for_template(self) -> dict[str, Any]:
        """What chat templates read beside the messages; the persona is in the system message."""
        return {"name1": self.scene.user, "name2": self.scene.char, "user_bio": ""}

    def stops(self) -> tuple[str, ...]:
        """A reply ends where somebody else would speak, or the same one once more."""
        here = (self.scene.user, self.scene.char, *self.others)
        before = [each.name for each in self.messages if each.name]
        return tuple(f"\n{name}:" for name in dict.fromkeys((*here, *before)))


async def play_of(library: Library, turn: Turn, history: Sequence[Message], told: str = "") -> Play:
    """The conversation of a turn; `told` is the system prompt of characters that bring none."""
    options = Options.of(turn)
    character, persona = await pair_of(library, options)
    said = [*history, *turn.messages]
    own = turn.sampling.seed
    seed = f"{turn.conversation_id} {len(said)}" if own is UNSET or own < 0 else own
    company = await company_of(library, options)
    scene = await library.scene(
        character,
        persona,
        said,
        system=told,
        seed=seed,
        conversation=turn.conversation_id or "",
        idle=timedelta(seconds=options.idle),
        continuing=turn.continue_ or options.impersonate,
        company=company,
    )
    messages, continue_ = options.begun(turn, [each for each in scene.history])
    named = [_named(message, scene) for message in messages]
    if continue_:  # The end of what goes on is left as it is.
        named[-1] = _named(messages[-1], scene, whole=False)
    else:
        named += system(scene.post_history)
    others = await others_of(library, options, company)
    before = [scene.system, introduced(others), *map(_example, scene.examples)]
    context = "\n\n".join(text for text in before if text)
    messages = (*system(context), *named)
    return Play(
        options, scene, character, persona, messages, continue_, seed, tuple(others), company
    )


def names(char: str) -> re.Pattern[str]:
    """What a reply may begin with though it is there already."""
    return re.compile(rf"\s*(?:{re.escape(char)}\s*:\s*)?")


# --- inside -----------------------------------------------------------------------------


def _example(dialogue: Sequence[Message]) -> str:
    return "\n".join(f"{m.name}: {m.text}" if m.name else m.text for m in dialogue)


def _named(message: Message, scene: Scene, *, whole: bool = True) -> Message:
    """A message without the blanks around it, and without the name that is put before it."""
    if message.role not in ("user", "assistant"):
        return message
    name = message.name or (scene.user if message.role == "user" else scene.char)
    text = message.text
    if found := names(name).match(text):
        text = text[found.end() :]
    others = [part for part in message.parts if not isinstance(part, Text)]
    parts = (*others, Text(text.rstrip() if whole else text))
    return structs.replace(message, parts=parts, name=name)
