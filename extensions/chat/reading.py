"""Markdown as safe HTML: raw HTML is text, links lead outside and say so, pictures never load.

Everything a model wrote passes through here; nothing of it gets out as markup but the address and
title of a link. A reader reads a whole text, or finds the blocks of one that is still growing. It
takes a tenth of a start to load, so markdown.py loads it when the first text comes.
"""

import logging
import math
import re
import time
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from pygments import format
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from .formulas import formulas
from .markdown import Code, plain
from .quotes import speech
from .tasks import tasks

log = logging.getLogger(__name__)

LONGEST = 200_000
"""Characters; a longer text is shown as it is, since reading it as markdown takes seconds."""
LONGEST_CODE, LONGEST_STRANGE = 20_000, 1_500
"""Characters of one block of code that are coloured: in a language of `QUICK`, and in another one,
whose rules may take the square or cube of the time, and let go of nothing meanwhile."""
COLOURING = 0.25
"""Seconds of the processor that the colours of one text may take; what is left has none."""
MOST_BRACKETS = 500_000
"""The squares of those of each paragraph, together: for each that opens an end is looked for, up to
the end of the paragraph."""
LONGEST_PARAGRAPH = 10_000
"""Characters; emphasis and links are looked for up to here, since hostile ones cost the square."""

QUICK = frozenset({
    "bash", "batch", "c", "cmake", "cpp", "csharp", "css", "dart", "diff", "docker", "elixir",
    "erlang", "fortran", "fsharp", "go", "graphql", "groovy", "haskell", "html", "java",
    "javascript", "json", "jsx", "julia", "kotlin", "latex", "lua", "nginx", "nim",
    "objective-c", "pascal", "perl", "php", "powershell", "properties", "protobuf", "python", "r",
    "ruby", "rust", "scala", "scss", "sql", "swift", "terraform", "text", "toml", "tsx",
    "typescript", "vb.net", "vue", "xml", "yaml", "zig",
})  # fmt: skip
"""Languages whose rules were tried with 50 hostile patterns: no step of 16,000 characters took a
tenth of a second. None of them hands parts on to another that it looks up by its name."""
LANGUAGE = re.compile(r"[\w+#.-]{1,30}")
OUTSIDE = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
NEW_WINDOW = 'rel="noopener noreferrer" target="_blank"'


class Reader:
    """Reads markdown; how a block of code looks comes from a template."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._coloured = self._parser(coloured=True)
        self._plain = self._parser(coloured=False)

    def render(self, text: str) -> str:
        """The whole of a text, its code coloured."""
        return self._rendered(self._coloured, text)

    def draft(self, text: str) -> str:
        """Text that is still being written: the same without the colours."""
        return self._rendered(self._plain, text)

    def blocks(self, text: str) -> list[Token]:
        """The top-level blocks of `text`, of which `map` has the lines.

        Only the block pass runs: no inline parsing, no rendering.
        """
        tokens: list[Token] = []
        self._plain.block.parse(text, self._plain, {}, tokens)
        return [t for t in tokens if t.level == 0 and t.map and t.nesting >= 0]

    def code(self, info: str, html: str) -> str:
        language = LANGUAGE.match(info.strip())
        return str(self._code(language[0] if language else "", html))  # Markup would escape.

    # --- how blocks and inlines are written --------------------------------------------

    def _parser(self, *, coloured: bool) -> MarkdownIt:
        parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(
            ["table", "strikethrough"]
        )
        parser.validateLink = lambda url: bool(OUTSIDE.match(url))
        parser.core.ruler.before("inline", "shield", shield)
        parser.core.ruler.push("align", align)
        parser.core.ruler.push("speech", speech)
        formulas(parser)
        tasks(parser)

        def code(
            renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
        ) -> str:
            words, info = tokens[index].content, tokens[index].info
            until = env.setdefault("colours until", time.thread_time() + COLOURING)
            html = colour(words, info, until) if coloured else escape(words, quote=False)
            return self.code(info, html) + "\n"

        parser.add_render_rule("fence", code)
        parser.add_render_rule("code_block", code)
        parser.add_render_rule("link_open", link_open)
        parser.add_render_rule("image", image)
        return parser

    def _rendered(self, parser: MarkdownIt, text: str) -> str:
        if len(text) > LONGEST:
            return plain(text)
        try:
            return parser.render(text)
        except Exception:  # Words that cannot be drawn must not take their conversation with them.
            log.exception("A text could not be read as markdown")
            return plain(text)


def colour(code: str, info: str, until: float = math.inf) -> str:
    """Code as spans with Pygments' classes, if it knows the language and is done by `until`."""
    language = LANGUAGE.match(info.strip())
    if not language or len(code) > LONGEST_CODE:
        return escape(code, quote=False)
    try:
        lexer = get_lexer_by_name(language[0], stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(code, quote=False)
    late = time.thread_time() > until
    if late or (len(code) > LONGEST_STRANGE and QUICK.isdisjoint(lexer.aliases)):
        return escape(code, quote=False)
    tokens = list[tuple[Any, str]]()
    for token in lexer.get_tokens(code):
        tokens.append(token)
        if time.thread_time() > until:
            return escape(code, quote=False)
    return format(tokens, HtmlFormatter(nowrap=True))


def link_open(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    opening = renderer.renderToken(tokens, index, options, env)
    return f"{opening[:-1]} {NEW_WINDOW}>"


def image(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """A link to the picture: loading it would tell its server who reads what, and when."""
    token = tokens[index]
    address = str(token.attrs["src"])
    name = escape(renderer.renderInlineAsText(token.children, options, env) or address)
    if sum(before.nesting for before in tokens[:index] if before.type.startswith("link_")):
        return name
    return f'<a href="{escape(address)}" {NEW_WINDOW}>{name}</a>'


def shield(state: StateCore) -> None:
    """Leave the words of an endless paragraph as they are."""
    brackets = 0
    for token in state.tokens:
        if token.type != "inline":
            continue
        brackets += token.content.count("[") ** 2
        if len(token.content) > LONGEST_PARAGRAPH or brackets > MOST_BRACKETS:
            token.children = [Token("text", "", 0, content=token.content)]
            token.content = ""


def align(state: StateCore) -> None:
    """Give a column its alignment as a class: the page allows no style attributes."""
    for token in state.tokens:
        if style := token.attrs.pop("style", ""):
            token.attrs["class"] = str(style).rpartition(":")[2]
