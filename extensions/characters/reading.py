"""A card as those see it who talk with the character: texts are texts, whatever a file had."""

from collections.abc import Mapping
from typing import Any, cast

from .books import book_of, listed, note_of, words
from .cards import Card
from .records import Character


def character_of(id: str, card: Card, picture: str = "") -> Character:
    """The character that a card describes; `id` is the name of its file."""
    data = card.data
    first = words(data.get("first_mes"))
    greetings = tuple(text for text in (first, *_texts(data.get("alternate_greetings"))) if text)
    return Character(
        id=id,
        name=words(data.get("name")).strip() or id,
        nickname=words(data.get("nickname")).strip(),
        description=words(data.get("description")),
        personality=words(data.get("personality")),
        scenario=words(data.get("scenario")),
        greetings=greetings,
        group_greetings=_group(data),
        examples=words(data.get("mes_example")),
        system_prompt=words(data.get("system_prompt")),
        post_history=words(data.get("post_history_instructions")),
        note=note_of(data.get("extensions")),
        book=book_of(data.get("character_book")),
        worlds=worlds_of(data.get("extensions")),
        creator=words(data.get("creator")),
        creator_notes=words(data.get("creator_notes")),
        version=words(data.get("character_version")),
        tags=listed(data.get("tags")),
        user_name=words(data.get("user_name")),
        picture=picture,
    )


def worlds_of(extensions: Any) -> tuple[str, ...]:
    """The lorebooks that are named among the extensions of a card."""
    said = cast(Mapping[str, Any], extensions).get("world") if isinstance(extensions, dict) else ""
    return _texts([said] if isinstance(said, str) else said)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(text for each in cast("list[Any]", value) if (text := words(each)))


def _group(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Greetings of groups; SillyTavern also keeps them among the extensions."""
    more = data.get("extensions")
    kept = cast(Mapping[str, Any], more).get("group_greetings") if isinstance(more, dict) else None
    return _texts(data.get("group_only_greetings")) or _texts(kept)
