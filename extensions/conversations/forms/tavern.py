"""Chats of SillyTavern: a line of JSON for each message, and one before them about the chat."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from extensions.conversations.text import title_of
from extensions.conversations.whole import Said, Whole

from . import branches
from .branches import Row
from .moments import iso, seconds

STAMP = re.compile(r"(?:.{0,80} - )?\d{4}-\d{1,2}-\d{1,2} ?@.*|\d{10,}")
"""File names that are no titles."""


def fits(lines: Sequence[Any]) -> bool:
    head = _mapping(lines[0]) if lines else {}
    return "user_name" in head or "chat_metadata" in head or ("mes" in head and "name" in head)


def read(lines: Sequence[Any], name: str, character: str = "") -> Whole:
    """The conversation of decoded lines; `name` is the file's, without its ending."""
    head = _mapping(lines[0])
    said = [line for line in map(_mapping, lines) if isinstance(line.get("mes"), str)]
    if not said:
        raise ValueError("There is no message in it")
    messages, leaf = branches.tree(map(_row, said))
    times = [each.created for each in messages if each.created]
    stamped = bool(STAMP.fullmatch(name)) or not name
    return Whole(
        title_of(branches.first_words(messages)) if stamped else title_of(name),
        messages,
        leaf,
        titled=0 if stamped else 2,
        folder=character,
        created=seconds(head.get("create_date")) or min(times, default=0.0),
        updated=max(times, default=0.0),
    )


def _row(line: Mapping[str, Any]) -> Row:
    texts = [text for text in _list(line.get("swipes")) if isinstance(text, str)][:1000]
    about = [_mapping(each) for each in _list(line.get("swipe_info"))]
    at = line.get("swipe_id")
    if not (isinstance(at, int) and 0 <= at < len(texts)):
        return Row((_said(line, line["mes"]),))
    versions = [
        _said({**line, **(about[n] if n < len(about) else {})}, text)
        for n, text in enumerate(texts)
    ]
    versions[at] = _said(line, line["mes"])
    return Row(tuple(versions), at)


def _said(line: Mapping[str, Any], text: str) -> Said:
    extra = _mapping(line.get("extra"))
    narrated = extra.get("type") == "narrator"
    role = "user" if line.get("is_user") is True else "system" if narrated else "assistant"
    hidden = line.get("is_system") is True and role == "assistant"
    return Said(
        role,
        text,
        raw="" if hidden else None,  # Shown, and not told to the model.
        reasoning=_text(extra.get("reasoning")),
        name=_text(line.get("name")),
        model=_text(extra.get("model")),
        created=seconds(line.get("send_date")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# --- writing ----------------------------------------------------------------------------


def write(whole: Whole) -> bytes:
    """The branch that is shown; versions are swipes."""
    rows = branches.rows(whole)
    names = [row.said.name for row in rows if row.said.role == "assistant"]
    users = [row.said.name for row in rows if row.said.role == "user"]
    you, them = next(filter(None, users), "You"), next(filter(None, names), "Assistant")
    lines: list[dict[str, Any]] = [
        {
            "user_name": you,
            "character_name": them,
            "create_date": iso(whole.created),
            "chat_metadata": {},
        },
        *(_line(row, you, them) for row in rows),
    ]
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _line(row: Row, you: str, them: str) -> dict[str, Any]:
    said = row.said
    line: dict[str, Any] = {
        "name": said.name or (you if said.role == "user" else them),
        "is_user": said.role == "user",
        "is_system": said.role == "assistant" and said.raw == "",
        "send_date": iso(said.created),
        "mes": said.text,
        "extra": _extra(said),
    }
    if len(row.versions) > 1:
        line["swipes"] = [each.text for each in row.versions]
        line["swipe_id"] = row.shown
        line["swipe_info"] = [
            {"send_date": iso(each.created), "extra": _extra(each)} for each in row.versions
        ]
    return line


def _extra(said: Said) -> dict[str, str]:
    found = {"model": said.model, "reasoning": said.reasoning}
    if said.role in ("system", "tool"):
        found["type"] = "narrator"
    return {name: value for name, value in found.items() if value}
