r"""Formulas in TeX: `$x$`, `$$x$$`, `\(x\)`, `\[x\]` and `\begin{equation}` become <chat-math>.

The page draws them with KaTeX; without it they are read as they were written. A formula on lines of
its own begins where a line begins with its sign, and lines alone decide where it ends: at the
closing sign, else before an empty line. So a reply can be cut into blocks while it grows.
"""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

LONGEST = 5_000
"""Characters of a formula; a longer one is text."""
BEGIN = re.compile(r"\\begin\{(equation|align|gather|alignat|multline)(\*?)\}")
PAIRS = {"$$": "$$", r"\[": r"\]", r"\(": r"\)", "$": "$"}


def formulas(parser: MarkdownIt) -> None:
    """Teach a parser to read formulas."""
    parser.inline.ruler.before("escape", "formula", inline)
    parser.block.ruler.before(
        "fence", "formula", block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    parser.add_render_rule("formula", write)


def inline(state: StateInline, silent: bool) -> bool:
    """A formula among words; dollars hug it, so that prices are none."""
    text, start = state.src, state.pos
    begun = BEGIN.match(text, start)
    opening = begun[0] if begun else next((s for s in PAIRS if text.startswith(s, start)), "")
    if not opening:
        return False
    closing = end_of(begun) if begun else PAIRS[opening]
    begin = start + len(opening)
    end = text.find(closing, begin, min(state.posMax, begin + LONGEST))
    while opening == "$" and end > 0 and text[end - 1] == "\\":  # \$ is a dollar, also in there
        end = text.find(closing, end + 1, min(state.posMax, begin + LONGEST))
    words = text[begin:end] if end > 0 else ""
    if not words.strip() or (opening == "$" and not hugged(text, begin, end)):
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content = text[start : end + len(closing)] if begun else words
        token.info = "display" if begun or opening in ("$$", r"\[") else ""
    state.pos = end + len(closing)
    return True


def end_of(begun: re.Match[str]) -> str:
    r"""The `\end` that belongs to a `\begin`."""
    return rf"\end{{{begun[1]}{begun[2]}}}"


def hugged(text: str, begin: int, end: int) -> bool:
    """Whether single dollars enclose a formula, as pandoc decides it."""
    return not (
        text[begin].isspace() or text[end - 1].isspace() or text[end + 1 : end + 2].isdigit()
    )


def block(state: StateBlock, line: int, last: int, silent: bool) -> bool:
    """A formula on lines of its own."""
    first = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
    begun = BEGIN.match(first)
    opening = begun[0] if begun else first[:2]
    if state.is_code_block(line) or not (begun or opening in ("$$", r"\[")):
        return False
    closing = end_of(begun) if begun else PAIRS[opening]
    if not begun and first.count(closing, 2) and not first.rstrip().endswith(closing):
        return False  # Words follow on its line: it stands in a paragraph.
    if silent:
        return True
    after, found = line, first[len(opening) :].rstrip().endswith(closing)
    while not found and after + 1 < last and not state.isEmpty(after + 1):
        if state.sCount[after + 1] < state.blkIndent:
            break  # The list or quote that it stands in ends.
        after += 1
        found = state.src[state.bMarks[after] : state.eMarks[after]].rstrip().endswith(closing)
    state.line = after + 1
    written = state.getLines(line, state.line, state.blkIndent, False).strip()
    token = state.push("formula", "", 0)
    token.block, token.map, token.info = True, [line, state.line], "display"
    token.content = written if begun else written[len(opening) :].removesuffix(closing)
    if not found or len(written) > LONGEST or not token.content.strip():
        token.content, token.info = written, "words"
    return True


def write(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """The element that the page draws, holding the formula as it was written."""
    token = tokens[index]
    words = escape(token.content.strip(), quote=False)
    if token.info == "words":
        return f"<p>{words}</p>\n"
    shown = ' class="display"' if token.info else ""
    html = f"<chat-math{shown}>{words}</chat-math>"
    return f"<p>{html}</p>\n" if token.block else html
