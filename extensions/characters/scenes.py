"""A scene: what a model is told of a character, a persona and their conversation so far."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from kernel.api import Message, Role, Text

from .lore import Found, fitted, found_in
from .macros import Macros
from .records import INSERTED, Character, Company, Count, Note, Part, Persona, Place, Scene
from .search import Said

Aside = Callable[..., Awaitable[Any]]
"""Runs what takes its time elsewhere: `ext.thread`."""
GUESS = 4
"""Bytes of a token, where nobody counts: a letter of Chinese has three of them, an English one."""
ALONE = Company()
_START = re.compile(r"^[ \t]*<START>[ \t]*$", re.IGNORECASE | re.MULTILINE)


async def guessed(text: str) -> int:
    """About how many tokens a text has."""
    return len(text.encode(errors="replace")) // GUESS + 1


def macros_of(
    character: Character,
    persona: Persona,
    history: Sequence[Message] = (),
    *,
    seed: int | str = 0,
    conversation: str = "",
    now: datetime | None = None,
    idle: timedelta | None = None,
    company: Company = ALONE,
) -> Macros:
    """The macros of a conversation between the two, or of several."""
    plain = Macros(persona.name, character.char)
    last = {message.role: message.text for message in history}
    fields = {
        "description": character.description,
        "personality": character.personality,
        "scenario": character.scenario,
        "persona": persona.description,
        "mesexamples": character.examples,
        "mesexamplesraw": character.examples,
        "charprompt": character.system_prompt,
        "charinstruction": character.post_history,
    }
    values = {name: plain.names(text) for name, text in fields.items()}
    values |= {
        "charversion": character.version,
        "char_version": character.version,
        "lastmessage": history[-1].text if history else "",
        "lastusermessage": last.get("user", ""),
        "lastcharmessage": last.get("assistant", ""),
        "original": "",
        **_together(character, persona, company),
    }
    return Macros(
        persona.name,
        character.char,
        seed=seed,
        place=conversation,
        values=values,
        now=now,
        idle=idle,
    )


def _together(character: Character, persona: Persona, company: Company) -> dict[str, str]:
    """What is said of those who are there, between commas."""
    if not company.names:
        return {}
    everybody = ", ".join(company.names)
    speaking = [name for name in company.names if name not in company.muted]
    others = [name for name in company.names if name != character.char]
    return {
        "group": everybody,
        "charifnotgroup": everybody,
        "groupnotmuted": ", ".join(speaking),
        "notchar": ", ".join([*others, persona.name]),
    }


async def scene_of(
    character: Character,
    persona: Persona,
    history: Sequence[Message],
    macros: Macros,
    *,
    aside: Aside,
    note: Note | None = None,
    system: str = "",
    post_history: str = "",
    count: Count = guessed,
    budget: int | None = None,
    seed: int | str = 0,
    continuing: bool = False,
) -> Scene:
    """The whole scene; `Library.scene` tells what each argument is."""
    named = [_named(message, character, persona, macros) for message in history]
    greetings = tuple(macros.expand(text) for text in character.greetings)
    lore = Found()
    if character.book:
        said = _said(named, greetings)
        hits = await aside(
            found_in,
            character.book,
            said,
            macros,
            seed,
            macros.place,
            continuing,
        )
        lore = await fitted(character.book, hits, macros, count, budget)
    macros.say(outlets(lore))
    notes = [each for each in (character.note, note) if each]
    return Scene(
        user=persona.name,
        char=character.char,
        parts=_parts(character, persona, macros, system, lore),
        examples=examples_of(character, persona, macros),
        history=_inserted(named, notes, lore, macros, continuing),
        post_history=_over(character.post_history, post_history, macros),
        greetings=greetings,
        lore=tuple(each for _, each in lore.lore),
        left_out=lore.left_out,
    )


def outlets(lore: Found) -> dict[str, str]:
    """What is told where a text asks for it by name."""
    said: dict[str, str] = {}
    for entry, each in lore.lore:
        if entry.outlet:
            name = f"outlet::{entry.outlet}"
            said[name] = f"{said[name]}\n{each.text}" if name in said else each.text
    return said


def examples_of(
    character: Character, persona: Persona, macros: Macros
) -> tuple[tuple[Message, ...], ...]:
    """Example dialogues as messages; what has no speaker is the system's."""
    found: list[tuple[Message, ...]] = []
    for block in _START.split(macros.expand(character.examples.replace("\r\n", "\n"))):
        if block.strip():
            found.append(_dialogue(block.strip("\n"), character.char, persona.name))
    return tuple(found)


# --- inside -------------------------------------------------------------------------------


def _parts(
    character: Character, persona: Persona, macros: Macros, system: str, lore: Found
) -> tuple[Part, ...]:
    """What stands before the conversation, without what is empty."""

    def told(place: Place) -> str:
        return "\n".join(each.text for entry, each in lore.lore if entry.place == place)

    def field(text: str, label: str = "") -> str:
        said = macros.expand(text).strip()
        return f"{label}{said}" if said else ""

    rows = [
        ("system prompt", _over(character.system_prompt, system, macros)),
        ("lore", told("before")),
        ("description", field(character.description)),
        ("personality", field(character.personality, f"{character.char}'s personality: ")),
        ("lore", told("personality")),
        ("scenario", field(character.scenario, "Scenario: ")),
        ("lore", told("scenario")),
        ("lore", told("after")),
        ("persona", field(persona.description)),
    ]
    return tuple(Part(source, text) for source, text in rows if text)


def _over(own: str, general: str, macros: Macros) -> str:
    """The character's own text in the place of the general one, which it may name."""
    general = macros.expand(general).strip()
    return macros.expand(own, original=general).strip() if own.strip() else general


def _named(message: Message, character: Character, persona: Persona, macros: Macros) -> Message:
    """A message with the name of who speaks and the names it speaks of."""
    names = {"user": persona.name, "assistant": character.char}
    parts = tuple(
        Text(macros.names(part.text)) if isinstance(part, Text) else part for part in message.parts
    )
    name = message.name or names.get(message.role, "")
    return structs.replace(message, parts=parts, name=name)


def _said(history: Sequence[Message], greetings: Sequence[str]) -> Said:
    lines = [f"{m.name}: {m.text}" if m.name else m.text for m in history]
    first = history[0].text if history else ""
    spoken = [n for n, message in enumerate(history) if message.role == "assistant"]
    greeting = greetings.index(first) if first in greetings else 0
    return Said(lines, spoken, greeting)


def _inserted(
    history: Sequence[Message], notes: Sequence[Note], lore: Found, macros: Macros, continuing: bool
) -> tuple[Message, ...]:
    """The history, with notes and lore at their depths; lore stands above a note of its depth."""
    last = len(history) - (1 if continuing and history else 0)
    asked = sum(message.role == "user" for message in history)
    rows: list[tuple[int, Role, str]] = [
        (entry.depth, entry.role, each.text) for entry, each in lore.lore if entry.place == "depth"
    ]
    for note in notes:
        text = macros.expand(note.text).strip()
        if text and not asked % max(1, note.every):
            rows.append((note.depth, note.role, text))
    at: dict[int, list[Message]] = {}
    for depth, role, text in rows:
        at.setdefault(max(0, last - depth), []).append(Message(role, (Text(text),), id=INSERTED))
    made: list[Message] = []
    for place, message in enumerate(history):
        made += [*at.get(place, ()), message]
    return (*made, *at.get(len(history), ()))


def _dialogue(block: str, char: str, user: str) -> tuple[Message, ...]:
    """`Name: words` a line, as messages; lines without a name go on with the one above."""
    speaks: dict[str, Role] = {user: "user", char: "assistant"}
    starts = re.compile(
        rf"^({'|'.join(re.escape(name) for name in sorted(speaks, key=len, reverse=True))}):[ \t]*",
        re.MULTILINE,
    )
    found = [*starts.finditer(block)]
    if not found:
        return (Message("system", (Text(block.strip()),)),)
    made: list[Message] = []
    if before := block[: found[0].start()].strip():
        made.append(Message("system", (Text(before),)))
    ends = [match.start() for match in found[1:]] + [len(block)]
    for match, end in zip(found, ends, strict=True):
        text = block[match.end() : end].strip()
        made.append(Message(speaks[match[1]], (Text(text),), match[1]))
    return tuple(made)
