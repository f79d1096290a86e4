"""The file conversations.json of an export of ChatGPT: many trees of messages."""

from collections.abc import Iterator, Mapping
from typing import Any

from extensions.conversations.text import title_of
from extensions.conversations.whole import Said, Whole

from . import branches
from .moments import seconds

ROLES = ("user", "assistant", "system", "tool")


def fits(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and isinstance(each.get("mapping"), dict) for each in value)
    )


def read(value: Any) -> Iterator[Whole]:
    """Each conversation that has a message."""
    for each in value:
        messages = tuple(_messages(each["mapping"]))
        if not messages:
            continue
        title, leaf = each.get("title"), each.get("current_node")
        ids = {said.id for said in messages}
        mapping = each["mapping"]
        while isinstance(leaf, str) and leaf not in ids:  # The shown end may be one without words.
            leaf = _mapping(mapping.pop(leaf, None)).get("parent")
        yield Whole(
            title_of(title if isinstance(title, str) else branches.first_words(messages), 200),
            messages,
            leaf if isinstance(leaf, str) else messages[-1].id,
            created=seconds(each.get("create_time")),
            updated=seconds(each.get("update_time")),
        )


def _messages(mapping: Mapping[str, Any]) -> Iterator[Said]:
    """From the roots down; what says nothing is left out, and what follows it stays."""
    below: dict[str, list[str]] = {}
    for id, node in mapping.items():
        above = _mapping(node).get("parent")
        if not (isinstance(above, str) and above in mapping and above != id):
            above = ""
        below.setdefault(above, []).append(id)
    waiting = [(id, "") for id in reversed(below.get("", []))]
    while waiting:
        id, parent = waiting.pop()
        said = _said(id, parent, _mapping(_mapping(mapping[id]).get("message")))
        if said:
            yield said
        above = said.id if said else parent
        waiting += [(each, above) for each in reversed(below.get(id, []))]


def _said(id: str, parent: str, message: Mapping[str, Any]) -> Said | None:
    role = _mapping(message.get("author")).get("role")
    content = _mapping(message.get("content"))
    parts = content.get("parts")
    texts = [part for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
    text = "\n\n".join(texts) or content.get("text")
    if role not in ROLES or not isinstance(text, str) or not text.strip():
        return None
    model = _mapping(message.get("metadata")).get("model_slug")
    return Said(
        role if role != "tool" else "assistant",
        text,
        id,
        parent,
        model=model if isinstance(model, str) else "",
        created=seconds(message.get("create_time")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
