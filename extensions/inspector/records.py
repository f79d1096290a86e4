"""What is kept of a reply: its request, what extensions did to it, and who set which value."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from extensions.conversations.api import StoredMessage
from kernel.api import (
    UNSET,
    Audio,
    Draft,
    Image,
    Message,
    ModelInfo,
    Part,
    Reply,
    Request,
    Sampling,
    Step,
    Struct,
    Text,
    Turn,
    built,
)

from .describing import described, named

LONGEST = 200_000
"""Characters that are kept of each side of a change."""
ASKED, MODE = "asked", "mode"
"""Who set a value, where it was no extension: whoever asked, or the mode."""


class Change(Struct, frozen=True):
    """What an extension made of what it was given, as lines."""

    owner: str
    point: str
    before: str
    after: str


@built
class Trace(Struct, frozen=True):
    """What is kept of one reply."""

    message: str
    conversation: str
    request: Request | None = None
    """Pictures and sounds are named and left out."""
    mode: str = ""
    changes: tuple[Change, ...] = ()
    passed: tuple[tuple[str, str], ...] = ()
    """Extensions that changed nothing, and at which point."""
    sources: Mapping[str, str] = {}
    """Who set each sampling value of the request: an extension, or one of the words above."""
    defaults: Sampling = Sampling()
    """The model's own values, which apply where the request is silent."""
    context: int = 0
    chat_template: str = ""


def record_of(message: StoredMessage, reply: Reply, info: ModelInfo | None) -> Trace:
    """Blocking, and as slow as the reply's context is long."""
    steps = reply.steps or ()
    changes = tuple(
        Change(step.owner, step.point, *(described(side)[:LONGEST] for side in (before, after)))
        for step, before, after in changed(steps)
    )
    did = {(change.owner, change.point) for change in changes}
    request = without_media(reply.request) if reply.request else None
    known = info if info and info.name == reply.model else None
    return Trace(
        message.id,
        message.conversation,
        request,
        reply.turn.mode if reply.turn.prompt is None else "",
        changes,
        tuple((s.owner, s.point) for s in steps if (s.owner, s.point) not in did),
        sources(steps, reply.turn, request),
        known.defaults if known else Sampling(),
        known.context_length if known else 0,
        known.chat_template if known and request and not request.template else "",
    )


def changed(steps: Iterable[Step]) -> Iterable[tuple[Step, Any, Any]]:
    for step in steps:
        if step.after is not step.before and step.after != step.before:
            yield step, step.before, step.after


def sources(steps: Sequence[Step], turn: Turn, request: Request | None) -> dict[str, str]:
    """Who set each value that the request has."""
    if not request:
        return {}
    asked = next((step.before for step in steps if step.point == "input"), turn).sampling
    found: dict[str, str] = {}
    for name, value in structs.asdict(request.sampling).items():
        if value is UNSET:
            continue
        found[name] = ASKED if getattr(asked, name) == value else MODE
        for _, before, after in changed(s for s in steps if s.point in ("input", "request")):
            if _value(before, name) != _value(after, name) == value:
                found[name] = next(
                    s.owner for s in steps if s.before is before and s.after is after
                )
    return found


def _value(of: Turn | Draft, name: str) -> Any:
    return getattr(of.request.sampling if isinstance(of, Draft) else of.sampling, name)


def without_media(request: Request) -> Request:
    if request.messages is None:
        return request
    return structs.replace(request, messages=tuple(map(_without_media, request.messages)))


def _without_media(message: Message) -> Message:
    if not any(isinstance(part, Image | Audio) for part in message.parts):
        return message
    parts: list[Part] = []
    for part in message.parts:
        media = isinstance(part, Image | Audio)
        parts.append(Text(named(part)) if media else part)
    return structs.replace(message, parts=tuple(parts))
