"""History files of text-generation-webui, the present form and the one before it."""

import base64
import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from extensions.conversations.text import title_of
from extensions.conversations.whole import Said, Whole

from . import branches
from .branches import Row
from .moments import named, of_name, seconds

GREETING = "<|BEGIN-VISIBLE-CHAT|>"
"""What the user says in the first row where a character speaks first."""
PLAIN = "text/plain"
DOCUMENT = re.compile(r"\n\n([^\n]*?)(?: \(([\w.+-]+/[\w.+-]+)(?:, (\S+))?\))?\n\n(.+)", re.DOTALL)
"""A text that a message has beside its own: name, type, address, words."""
PICTURE = re.compile(r"data:(image/[a-z+.-]{1,20});base64,")
STAMP = re.compile(r"\d{8}-\d\d-\d\d-\d\d.*|\d{8}-\d{6}|persistent|\d{10,}")
"""File names that are no titles."""
OWNED = re.compile(r"persistent_(.+)|(.+)_persistent|history_(.+)_\d{8}[-T]\d{6}")
"""Nor are these, which name whom the conversation is with."""
DATED = re.compile(r"(.+)_\d{8}[-T]\d{6}")
"""Nor is this, where the program wrote it; but people call their files so, too."""
NOBODY = ("chat", "chat-instruct", "chats", "history", "instruct", "logs", "none")
"""What such a name says where it is no character."""
LOGS = "logs"
"""Where the program kept chats before each character had a folder."""
SHELF = "chat"
"""In there, since then: the folder that holds those of the characters."""


def fits(value: Any) -> bool:
    if isinstance(value, list):  # Of 2023: the rows alone.
        return bool(value) and all(_is_row(row) for row in value)
    known = isinstance(value, dict) and (value.get("internal", value.get("data")))
    return isinstance(known, list)


def _is_row(row: Any) -> bool:
    pair = isinstance(row, list) and len(row) >= 2
    return pair and all(text is None or isinstance(text, str) for text in row[:2])


def read(value: Any, name: str, character: str = "", folder: str = "") -> Whole:
    """The conversation of a decoded file; `name` is the file's, without its ending, and `folder`
    that of the folder it lies in."""
    if isinstance(value, list):
        value = {"internal": value}
    owner = _owner(name, folder)
    character = character or ("" if owner.lower() in NOBODY else owner)
    messages, leaf = branches.tree(_rows(value, character))
    if not messages:
        raise ValueError("There is no message in it")
    times = [said.created for said in messages if said.created]
    stamped = STAMP.fullmatch(name) or owner or not name
    moment = of_name(name)
    return Whole(
        title_of(branches.first_words(messages)) if stamped else title_of(name),
        messages,
        leaf,
        titled=0 if stamped else 2,
        folder=character,
        created=min(times, default=moment),
        updated=max(times, default=moment),
    )


def _owner(name: str, folder: str) -> str:
    """Whom a file's name says that it belongs to; "" where it says nothing of the kind."""
    if owned := OWNED.fullmatch(name):
        return owned[owned.lastindex or 0]
    dated = DATED.fullmatch(name)
    return dated[1] if dated and (" " not in dated[1] or folder.lower() == LOGS) else ""


def _rows(value: Mapping[str, Any], character: str) -> Iterator[Row]:
    """What the user says, and what is answered, a row each."""
    visible = value.get("visible", value.get("data_visible"))
    metadata = _mapping(value.get("metadata"))
    visible = visible if isinstance(visible, list) else []
    for n, row in enumerate(value.get("internal", value.get("data"))):
        if not _is_row(row):
            raise ValueError(f"Its row {n + 1} is no pair of texts")
        told, answer = (text or "" for text in row[:2])
        there = n < len(visible) and _is_row(visible[n])
        shown = [text or "" for text in visible[n][:2]] if there else ["", ""]
        about = _mapping(row[3]) if len(row) > 3 else {}
        mine, theirs = (_mapping(metadata.get(f"{who}_{n}")) for who in ("user", "assistant"))
        if told and told != GREETING:
            system = about.get("role") == "system"
            yield _row(told, shown[0], mine, "system" if system else "user", "")
        tool = row[2] if len(row) > 2 and isinstance(row[2], str) else ""
        if answer or _versions(theirs):
            yield _row(answer, shown[1], theirs, "assistant", character, tool)


def _row(
    internal: str, visible: str, about: Mapping[str, Any], role: Any, name: str, tool: str = ""
) -> Row:
    """A row's message, beside it those that were there before or after it."""
    here = _said(internal, visible, about, role, name, tool)
    texts = _versions(about)
    versions = [
        _said(
            str(each["content"]),
            str(each.get("visible_content") or ""),
            {**about, "timestamp": each.get("timestamp"), **_only(each, "tool_sequence")},
            role,
            name,
        )
        for each in texts
    ]
    at = about.get("current_version_index")
    if isinstance(at, int) and 0 <= at < len(texts) and texts[at]["content"] == internal:
        versions[at] = msgspec.structs.replace(here, created=here.created or versions[at].created)
        return Row(tuple(versions), at)
    if internal or not versions:
        versions.append(here)
    return Row(tuple(versions), len(versions) - 1)


def _versions(about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = about.get("versions")
    texts = found if isinstance(found, list) else []
    return [each for each in texts if isinstance(_mapping(each).get("content"), str)][:1000]


def _said(
    internal: str, visible: str, about: Mapping[str, Any], role: Any, name: str, tool: str = ""
) -> Said:
    """What is shown is HTML that was escaped; where it holds markup of an extension, it is not."""
    shown = html.unescape(visible) if visible and "<" not in visible else internal
    parts: tuple[Any, ...] = _attached(about)
    if role == "user" and (parts or shown != internal):
        parts = ({"type": "text", "text": internal}, *parts)
    model = about.get("model_name")
    return Said(
        role,
        shown,
        raw=internal if role == "assistant" and internal != shown else None,
        parts=parts if role == "user" else (),
        reasoning="\n".join(filter(None, (_tools(about.get("tool_sequence")), tool))),
        name=name,
        model=model if isinstance(model, str) else "",
        created=seconds(about.get("timestamp")),
    )


def _attached(about: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """Pictures as they are; documents as texts, headed by their name, type and address."""
    found = about.get("attachments")
    parts: list[dict[str, str]] = []
    for each in found if isinstance(found, list) else []:
        known = _mapping(each)
        picture = known.get("image_data")
        match = PICTURE.match(picture) if isinstance(picture, str) else None
        if match and isinstance(picture, str):
            data = picture[match.end() :]
            try:
                base64.b64decode(data, validate=True)
            except ValueError:
                continue
            parts.append({"type": "image", "data": data, "media_type": match[1]})
        elif isinstance(content := known.get("content"), str) and content:
            parts.append({"type": "text", "text": f"\n\n{_heading(known)}\n\n{content}"})
    return tuple(parts)


def _heading(document: Mapping[str, Any]) -> str:
    """`zoo.txt`; `zoo.pdf (application/pdf)`; `Zoos (text/html, https://zoo.example)`."""
    name, kind, url = (
        " ".join(str(value).split())[:2000] if isinstance(value, str) else ""
        for value in (document.get("name"), document.get("type"), document.get("url"))
    )
    about = ", ".join(filter(None, (kind, url)))
    return f"{name} ({about})" if about and about != PLAIN else name


def _tools(sequence: Any) -> str:
    """Calls of tools and their results, in words."""
    lines: list[str] = []
    for each in sequence if isinstance(sequence, list) else []:
        known = _mapping(each)
        calls = known.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            of = _mapping(_mapping(call).get("function"))
            lines.append(f"{of.get('name', 'a tool')}({of.get('arguments', '')})")
        if isinstance(content := known.get("content"), str) and content:
            lines.append(content)
    return "\n".join(lines)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _only(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: value[name]} if name in value else {"tool_sequence": None}


# --- writing ----------------------------------------------------------------------------


def write(whole: Whole) -> bytes:
    """The branch that is shown, with the versions of each of its messages."""
    internal, visible = list[list[Any]](), list[list[str]]()
    metadata: dict[str, Any] = {}
    for row in branches.rows(whole):
        said = row.said
        words = said.text if said.raw is None else said.raw
        if said.role == "assistant":
            if not internal or internal[-1][1] or len(internal[-1]) > 2:
                internal.append([GREETING if not internal else "", ""])
                visible.append(["", ""])
            internal[-1][1], visible[-1][1] = words, html.escape(said.text)
            who = "assistant"
        else:
            texts = [p["text"] for p in said.parts if _mapping(p).get("type") == "text"]
            told = "".join(text for n, text in enumerate(texts) if not (n and DOCUMENT.match(text)))
            internal.append([told or said.text, ""])
            visible.append([html.escape(said.text), ""])
            if said.role != "user":
                internal[-1] += ["", {"role": said.role}]
            who = "user"
        metadata[f"{who}_{len(internal) - 1}"] = _about(row)
    value = {"internal": internal, "visible": visible, "metadata": metadata}
    return msgspec.json.format(msgspec.json.encode(value), indent=4)


def _about(row: Row) -> dict[str, Any]:
    said = row.said
    about: dict[str, Any] = {"timestamp": named(said.created)}
    if said.model:
        about["model_name"] = said.model
    documents = [
        DOCUMENT.match(p["text"]) for p in map(_mapping, said.parts[1:]) if p.get("type") == "text"
    ]
    attached: list[dict[str, str]] = [
        {"name": found[1], "type": found[2] or PLAIN, "content": found[4]}
        | ({"url": found[3]} if found[3] else {})
        for found in documents
        if found
    ]
    pictures = [p for p in map(_mapping, said.parts) if p.get("type") == "image"]
    attached += [
        {"name": f"picture {n}", "type": "image", "image_id": str(n),
         "image_data": f"data:{p['media_type']};base64,{p['data']}"}
        for n, p in enumerate(pictures, 1)
    ]  # fmt: skip
    if attached:
        about["attachments"] = attached
    if len(row.versions) > 1:
        about["versions"] = [
            {
                "content": each.text if each.raw is None else each.raw,
                "visible_content": html.escape(each.text),
                "timestamp": named(each.created),
            }
            for each in row.versions
        ]
        about["current_version_index"] = row.shown
    return about
