"""The frames of the protocol: each struct is the form, the check and the schema of one."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from extensions.api_kit.api import read as decoded
from kernel.api import Meta, Struct, built

from .asking import VERSION, Asked, Generate, Id, Start
from .events import KINDS, Event
from .frames import Act, Acted, Hello, Subscribe, Subscribed, Unsubscribe, Welcome
from .telling import Answer, Delta, Done, Failed, Replace, Started, Tool, Waiting, pieces

__all__ = [
    "VERSION", "Answer", "Asked", "Cancel", "Delta", "Done", "Failed", "FromProgram", "Generate",
    "Replace", "Resume", "Start", "Started", "ToProgram", "Tool", "Waiting", "about", "pieces",
    "read", "schema",
]  # fmt: skip


class Cancel(Struct, frozen=True, tag_field="type", tag="cancel"):
    """Stop a reply; what was said stays."""

    stream: Id


class Resume(Struct, frozen=True, tag_field="type", tag="resume"):
    """Follow a reply again, from the event after `last_seq`."""

    stream: Id
    last_seq: Annotated[int, Meta(ge=0, le=2**53)] = 0


FromProgram = Hello | Start | Cancel | Resume | Subscribe | Unsubscribe | Act
OfReplies = Started | Waiting | Delta | Replace | Tool | Done | Failed
ToProgram = Welcome | OfReplies | Subscribed | Event | Acted


def schema() -> Mapping[str, Any]:
    """The JSON Schema of all frames and bodies."""
    kinds = (FromProgram, ToProgram, Generate, Answer, *KINDS.values())
    roots, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    names = ("from_program", "to_program", "generate", "answer")
    events = {"properties": dict(zip(KINDS, roots[len(names) :], strict=True))}
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "version": VERSION}
    frames = {**dict(zip(names, roots, strict=False)), "events": events}
    return {**about, "properties": frames, "$defs": components}


FRAMES = " Known: hello, start, cancel, resume, subscribe, unsubscribe, act."


def read(text: str | bytes, kind: Any) -> Any:
    """A frame or a body; raises Problem, which names the field."""
    return decoded(text, kind, FRAMES)


@built
class Named(Struct, frozen=True):
    """What a frame says of itself, whether the rest is right or wrong."""

    stream: str = ""
    id: str = ""


def about(text: str | None) -> str:
    """What a frame that is refused was about, so that its program knows which it was."""
    try:
        named = msgspec.json.decode(text or "{}", type=Named)
    except (ValueError, RecursionError):
        return ""
    return (named.stream or named.id)[:64]
