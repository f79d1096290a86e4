"""Markdown as safe HTML, for whoever draws messages; its reader is loaded with the first text."""

from collections.abc import Callable
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

    from .reading import Reader

Code = Callable[[str, str], str]
"""`code(language, html)`: a block of code as HTML."""


class Markdown:
    """Reads markdown; how a block of code looks comes from a template."""

    def __init__(self, code: Code) -> None:
        self._code = code

    @cached_property
    def _reader(self) -> "Reader":
        from .reading import Reader  # noqa: PLC0415 - a tenth of a start, and an empty chat has none

        return Reader(self._code)

    def prepare(self) -> None:
        """Load the reader, in a thread: the first text shall not wait for it."""
        _ = self._reader

    def render(self, text: str) -> str:
        """The whole of a text, its code coloured."""
        return self._reader.render(text)

    def draft(self, text: str) -> str:
        """Text that is still being written: the same without the colours."""
        return self._reader.draft(text)

    def blocks(self, text: str) -> "list[Token]":
        """The top-level blocks of `text`, of which `map` has the lines."""
        return self._reader.blocks(text)

    def code(self, info: str, html: str) -> str:
        """A block of code that stands open."""
        return self._reader.code(info, html)


def plain(text: str) -> str:
    """A text as it is."""
    return f"<pre>{escape(text, quote=False)}</pre>\n"
