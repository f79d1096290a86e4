"""Our own form: JSON with the whole tree. What is written is read again exactly."""

import re
from typing import Any

import msgspec

from extensions.conversations.whole import Whole
from kernel.api import Struct, built

VERSION = 1
BEGINNING = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"spindle"\s*:')
"""Of a file of this form, as `write` makes it."""


@built
class File(Struct, frozen=True):
    """A file of this form; `spindle` is the form's version."""

    spindle: int
    conversation: Whole


def write(whole: Whole) -> bytes:
    return msgspec.json.format(msgspec.json.encode(File(VERSION, whole)), indent=1)


def fits(value: Any) -> bool:
    return isinstance(value, dict) and "spindle" in value


def read(value: Any) -> Whole:
    """The conversation in a decoded file; ValueError tells what is wrong with it."""
    if value.get("spindle") != VERSION:
        raise ValueError("It is of a newer Spindle. Update this one to read it")
    return msgspec.convert(value, File, strict=True).conversation
