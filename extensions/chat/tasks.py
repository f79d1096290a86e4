"""Lists of tasks: `[ ]` and `[x]` at the beginning of a list's item become a box, as on GitHub."""

import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

BOX = re.compile(r"\[([ xX])\](?=\s)")
OPENS = ["list_item_open", "paragraph_open"]


def tasks(parser: MarkdownIt) -> None:
    """Teach a parser to read them, and to write them."""
    parser.core.ruler.push("tasks", found)
    parser.add_render_rule("task", box)


def found(state: StateCore) -> None:
    for at, token in enumerate(state.tokens):
        opens = [each.type for each in state.tokens[max(0, at - 2) : at]]
        if token.type != "inline" or not token.children or opens != OPENS:
            continue
        words = token.children[0]
        if mark := BOX.match(words.content if words.type == "text" else ""):
            words.content = words.content[mark.end() :]
            done = Token("task", "", 0, info="" if mark[1] == " " else "done")
            token.children = [done, *token.children]
            state.tokens[at - 2].attrJoin("class", "task")


def box(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    done = bool(tokens[index].info)
    name, sign = ("done", "☑") if done else ("to do", "☐")
    return f'<span role="img" aria-label="{name}">{sign}</span>'
