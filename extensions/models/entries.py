"""The text of config-user.yaml: its entries in their order, and one of them set or taken out while
every other line stays, comments and all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kernel.api import composed, dump_yaml

LARGEST = 256 << 10
"""Bytes of a file."""


class Pair(NamedTuple):
    """An entry, and the lines where it stands."""

    name: str
    value: Any
    begin: int
    end: int


def text_of(path: Path) -> str:
    """A file's text, empty where there is none; raises ValueError."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 10} KB")
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be read") from None


def pairs(text: str) -> list[Pair]:
    """The entries in their order, also several of one name; raises ValueError."""
    node, read = _composed(text)
    if node is None:
        return []
    lines, begins = text.splitlines(), [name.start_mark.line for name, _ in node.value]
    found: list[Pair] = []
    for (name, value), begin, end in zip(
        node.value, begins, [*begins[1:], len(lines)], strict=True
    ):
        while end > begin + 1 and lines[end - 1].lstrip()[:1] in ("", "#"):
            end -= 1  # What stands above the next one belongs to that.
        found.append(Pair(str(name.value), read(value), begin, end))
    return found


def put(text: str, name: str, value: Mapping[str, Any] | None, *, last: bool) -> str:
    """The text with this entry, or without it; with `last` it comes to stand at the end. Raises
    ValueError where only a person can change it."""
    node, _ = _composed(text)
    if node is not None and node.flow_style:
        raise ValueError("it is written in braces; a person has to change it")
    lines, before = text.splitlines(), pairs(text)
    mine = [pair for pair in before if pair.name == name]
    new = [] if value is None else dump_yaml({name: dict(value)}).splitlines()
    at = mine[-1].begin if mine and not last else len(lines)
    lines[at:at] = new
    for pair in reversed(mine):
        shift = len(new) if pair.begin >= at else 0
        del lines[pair.begin + shift : pair.end + shift]
    changed = "\n".join(lines) + "\n" if lines else ""
    others = [pair[:2] for pair in before if pair.name != name]
    after = pairs(changed)
    kept = [pair[:2] for pair in after if pair.name != name]
    found = [pair.value for pair in after if pair.name == name]
    if kept != others or found != ([] if value is None else [dict(value)]):
        raise ValueError("it is written in a way that only a person can change")
    return changed


def _composed(text: str) -> tuple[Any, Callable[[Any], Any]]:
    """The tree of nodes, and what makes values of them; raises ValueError."""
    node, value = composed(text)
    if any(not isinstance(pair, tuple) for pair in (node.value if node is not None else ())):
        raise ValueError("it is no list of names")
    return node, value
