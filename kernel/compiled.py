"""Templates as Python's bytecode, kept where Python keeps that of modules."""

import importlib.util
import marshal
import os
import sys
from contextlib import suppress
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

MAGIC = importlib.util.MAGIC_NUMBER + jinja2.__version__.encode() + b"\n"
"""Which Python and which Jinja made it."""


class Compiled(BytecodeCache):
    """Keeps what Jinja made of a template in `__pycache__` beside it, as trusted as what Python
    keeps there: compiling fifteen templates takes a sixth of a start.

    Jinja's own caches use pickle; this is marshal, as in a .pyc. A file is taken if its source is
    the one it was made from. Python's switches for bytecode (where it goes, or none) hold, too.
    """

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """The template's file."""
        return filename or name

    def load_bytecode(self, bucket: Bucket) -> None:
        head = MAGIC + bucket.checksum.encode()
        with suppress(OSError, ValueError, EOFError, TypeError):  # Missing, or not whole.
            kept = _place(bucket).read_bytes()
            if kept.startswith(head):
                bucket.code = marshal.loads(kept[len(head) :])

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode or not bucket.code:
            return
        place = _place(bucket)
        draft = place.with_suffix(f".{os.getpid()}")
        with suppress(OSError):  # A folder that takes nothing: it is compiled at every start.
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(MAGIC + bucket.checksum.encode() + marshal.dumps(bucket.code))
            draft.replace(place)


def _place(bucket: Bucket) -> Path:
    return Path(importlib.util.cache_from_source(bucket.key))
