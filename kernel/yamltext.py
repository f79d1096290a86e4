"""YAML changed as text: one entry at a time; every other line stays, comments and all."""

import re
from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, NamedTuple, cast

from msgspec import UNSET

from kernel.remembered import Remembered
from kernel.yamltree import Malformed, dump_yaml, read_yaml

Tree = dict[str, Any]
_KEY = re.compile(r"""(["']?)([\w.-]+)\1 *:(?=\s|$)""")
_COMMENT = re.compile(
    r"""\s* (?: "[\w.-]+" | '[\w.-]+' | [\w.-]+ ) \ *:  # a name, and what may stand behind it:
    (?: \s+ (?: "(?:[^"\\]|\\.)*" | '(?:[^']|'')*'      # a value in quotes,
    | [^\s"'\#\[{] (?:[^\#]|(?<!\s)\#)*?                # a plain one, with # within words,
    | [\[{][^"'\#]*? ))?                                # a list or mapping,
    (\s+\#.*)""",
    re.VERBOSE,
)


class _Entry(NamedTuple):
    name: str
    start: int
    stop: int
    indent: str


def load(text: str, memory: Remembered | None = None) -> Tree:
    """The mapping that a text holds; raises Malformed."""
    tree = memory.made(read_yaml, text) if memory else read_yaml(text)
    if not isinstance(tree, dict | None):
        raise Malformed("line 1: this is not a list of names, each with its value")
    return cast(Tree, tree or {})


def at(tree: Any, path: Sequence[str]) -> Any:
    """What a tree holds at a path, or None."""
    for key in path:
        tree = cast(Tree, tree).get(key) if isinstance(tree, dict) else None
    return tree


def put(text: str, path: Sequence[str], value: Any, note: str = "") -> str:
    """Set the entry at `path`, or remove it (UNSET). A new entry gets `note` as its comment."""
    wanted, note = deepcopy(load(text)), " ".join(note.split())
    if not _change(wanted, path, value):
        return text
    lines = text.split("\n") if text.strip() else [""]
    lines += [""] if lines[-1] else []
    low, high, depth, entry, indent = 0, len(lines) - 1, 0, None, ""
    for depth, key in enumerate(path):
        here = _entries(lines, low, high)
        indent = here[0].indent if here else ""
        entry = next((e for e in here if e.name == key), None)
        low, high = (entry.start, entry.stop) if entry else [here[-1].stop if here else high] * 2
        if not entry or depth == len(path) - 1 or not _entries(lines, low + 1, high):
            break
        low += 1
    gone = value is UNSET and depth == len(path) - 1
    whole = at(wanted, path[: depth + 1])  # all that the entry found is to hold
    new = [] if gone else dump_yaml({path[depth]: whole}).splitlines()
    if tail := _COMMENT.match(lines[low]) if entry else None:
        if new:
            new[0] += tail[1]
        elif tail[1].strip() != f"# {note}":
            new = [tail[1].strip()]
    elif note and not isinstance(value, dict | list) and new:
        new[-1] += f"  # {note}"
    kept = [line for line in lines[low + 1 : high] if line.lstrip().startswith("#")]
    lines[low:high] = [indent + line for line in new] + kept
    return _proven("\n".join(lines), wanted)


def arrange(text: str, path: Sequence[str], order: Sequence[str]) -> str:
    """Bring the entries below `path` into an order, each with the comment right above it."""
    wanted = load(text)
    there: dict[Any, Any] = at(wanted, path) or {}
    if odd := [key for key in there if not isinstance(key, str)]:
        raise Malformed(f"a name in {'.'.join(path)} is no word ({odd[0]}). Put it in quotes first")
    for key in [key for key in order if key not in (at(wanted, path) or {})]:
        text = put(text, (*path, key), {})
        wanted = load(text)
    lines = text.split("\n")
    home = at(wanted, path[:-1])
    names = [*dict.fromkeys(order), *(key for key in home[path[-1]] if key not in order)]
    home[path[-1]] = {key: home[path[-1]][key] for key in names}
    low, high = 0, len(lines)
    for key in path:
        entry = next(e for e in _entries(lines, low, high) if e.name == key)
        low, high = entry.start + 1, entry.stop
    spans: dict[str, tuple[int, int]] = {}
    for key, start, stop, _ in _entries(lines, low, high):
        while start > low and lines[start - 1].lstrip().startswith("#"):
            start -= 1
        spans[key], low = (start, stop), stop
    if spans.keys() != set(names):  # they share a line
        return put(text, path, home[path[-1]])
    was = list(spans.values())
    gaps = [lines[a[1] : b[0]] for a, b in pairwise(was)] + [lines[was[-1][1] :]]
    for key, gap in zip(names, gaps, strict=True):
        gap[:0] = lines[slice(*spans[key])]
    return _proven("\n".join(sum(gaps, lines[: was[0][0]])), wanted)


def _proven(text: str, wanted: Tree) -> str:
    """The new text, if it holds what it should: flow style and other rarities are not risked."""
    try:
        right = repr(load(text)) == repr(wanted)
    except Malformed:
        right = False
    if not right:
        raise Malformed("it is written in a way that only a person can change; edit it by hand")
    return text


def _change(tree: Tree, path: Sequence[str], value: Any) -> bool:
    """Change a tree in place; says whether that made a difference."""
    *way, name = path
    above, key = tree, ""
    for key in way:
        if not isinstance(tree.get(key), dict):
            if value is UNSET:
                return False
            tree[key] = {}
        above, tree = tree, tree[key]
    if repr(tree.get(name, UNSET)) == repr(value):
        return False
    if value is not UNSET:
        tree[name] = value
        return True
    del tree[name]
    if not tree and way:
        above[key] = None  # what is left in the text: its name, and the comments below it
    return True


def _entries(lines: Sequence[str], low: int, high: int) -> list[_Entry]:
    """The entries of the outermost mapping in a range of lines.

    Deeper lines belong to an entry, comments too; a comment level with it to the next one.
    """
    found: list[_Entry] = []
    for at in range(low, high):
        body = lines[at].lstrip(" ")
        indent = lines[at].removesuffix(body)
        key = _KEY.match(body)
        if key and (not found or indent == found[0].indent):
            found.append(_Entry(key[2], at, at + 1, indent))
        elif found and body.strip() and (indent > found[0].indent or body[0] != "#"):
            found[-1] = found[-1]._replace(stop=at + 1)
    return found
