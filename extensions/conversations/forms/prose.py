"""Conversations as Markdown and as plain text; what we wrote is read again."""

import re
from datetime import datetime
from itertools import islice

from extensions.conversations.text import title_of
from extensions.conversations.whole import Said, Whole
from kernel.api import Role

from . import branches
from .moments import seconds

HEADING = re.compile(
    r"^## (.{1,200}) <!-- (user|assistant|system) ?([\dT:.+-]*) -->$", re.MULTILINE
)
SPEAKER = re.compile(r"^(\S[^:\n]{0,59}):$", re.MULTILINE)
ME = ("You", "User", "Me")


def markdown(whole: Whole) -> bytes:
    """A heading for each message, with a comment that tells whose it is."""
    parts = [f"# {whole.title}\n"]
    for row in branches.rows(whole):
        said = row.said
        at = datetime.fromtimestamp(said.created).isoformat(timespec="seconds")
        parts.append(f"## {_name(said)} <!-- {_role(said)} {at} -->\n\n{said.text}\n")
    return "\n".join(parts).encode()


def text(whole: Whole) -> bytes:
    """A name before each message; the user's is "You", by which it is read again."""
    parts = [f"{whole.title}\n"]
    for row in branches.rows(whole):
        name = ME[0] if row.said.role == "user" else _name(row.said)
        parts.append(f"{name}:\n{row.said.text}\n")
    return "\n".join(parts).encode()


def read(words: str, name: str) -> Whole:
    """The conversation in a text that one of these wrote."""
    words = words.replace("\r\n", "\n")
    headings = _lines(HEADING, words)
    if headings:
        said = [
            Said(found[2], body, name=_known(found[1]), created=seconds(found[3]))  # type: ignore[arg-type]
            for found, body in zip(headings, _bodies(words, headings), strict=True)
        ]
    else:
        speakers = _speakers(words)
        names = {speaker[1] for speaker in speakers}
        if len(speakers) < 2 or not names & {*ME}:
            raise ValueError("Nobody says anything in it: no line is a name with a colon")
        said = [
            Said("user" if found[1] in ME else "assistant", body, name=_known(found[1]))
            for found, body in zip(speakers, _bodies(words, speakers), strict=True)
        ]
    messages, leaf = branches.tree(branches.Row((each,)) for each in said)
    head = words[: (headings or _speakers(words))[0].start()].strip().lstrip("# ")
    times = [each.created for each in messages if each.created]
    return Whole(
        title_of(head or name), messages, leaf, created=min(times, default=0.0),
        updated=max(times, default=0.0),
    )  # fmt: skip


def _speakers(words: str) -> list[re.Match[str]]:
    """The lines that name the two who speak first; others are words like any."""
    found = _lines(SPEAKER, words)
    two = list(dict.fromkeys(each[1] for each in found))[:2]
    return [each for each in found if each[1] in two]


def _lines(pattern: re.Pattern[str], words: str) -> list[re.Match[str]]:
    """The lines that may each begin a message."""
    found = list(islice(pattern.finditer(words), branches.MOST + 1))
    if len(found) > branches.MOST:
        raise ValueError(branches.TOO_MANY)
    return found


def _bodies(words: str, heads: list[re.Match[str]]) -> list[str]:
    ends = [each.start() for each in heads[1:]] + [len(words)]
    return [words[each.end() : end].strip("\n") for each, end in zip(heads, ends, strict=True)]


def _name(said: Said) -> str:
    name = said.name or said.model if said.role == "assistant" else said.name
    names = {"user": "You", "system": "System"}
    return " ".join((name or names.get(said.role, "Assistant")).split())[:60].replace(":", " ")


def _role(said: Said) -> Role:
    return said.role if said.role != "tool" else "assistant"


def _known(name: str) -> str:
    return "" if name in (*ME, "Assistant", "System") else name
