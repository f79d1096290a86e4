"""YAML that anybody may have written, read without letting it nest or grow beyond all bounds.

The library is imported when something is read or written: no start needs it (`remembered`).
"""

import io
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, cast

DEEPEST = 500
"""Brackets within brackets, those in words too; each costs the parser more than the last."""
GROWN = 10_000
"""Values that aliases and merges may add to those that are written out."""


class Malformed(ValueError):
    """The text is no YAML that can be read; says where and why."""


def read_yaml(text: str) -> Any:
    """What a text holds; raises Malformed."""
    node, value = composed(text)
    return None if node is None else value(node)


def dump_yaml(tree: Any) -> str:
    """The text of a tree: an entry a line, in their order; a text with line ends or other
    unprintable characters is on one line, escaped."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - 20 ms
    from ruamel.yaml.representer import SafeRepresenter  # noqa: PLC0415 - the same

    class Escaping(SafeRepresenter):
        def represent_str(self, data: str) -> Any:
            style = None if data.isprintable() else '"'
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)  # pyright: ignore

    Escaping.add_representer(str, Escaping.represent_str)  # pyright: ignore
    yaml, stream = cast(Any, YAML(typ="safe", pure=True)), io.StringIO()
    yaml.Representer = Escaping
    yaml.default_flow_style, yaml.allow_unicode, yaml.width = False, True, 1 << 20
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(tree, stream)
    return stream.getvalue()


def composed(text: str) -> tuple[Any, Callable[[Any], Any]]:
    """The tree of nodes, and what makes a value of one; both raise Malformed."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - 20 ms

    yaml: Any = YAML(typ="safe", pure=True)
    with _in_words():
        if max(accumulate((c in "[{") - (c in "]}") for c in text), default=0) > DEEPEST:
            raise RecursionError
        node = yaml.compose(text)
        if node is not None and _size(node, {}) > len(text) + GROWN:
            raise Malformed("its aliases (*) repeat too much; write it out")

    def value(node: Any) -> Any:
        with _in_words():
            return yaml.constructor.construct_document(node)

    return node, value


def _size(node: Any, known: dict[int, int]) -> int:
    """How many values a node becomes: an alias is the very node that it names."""
    if id(node) not in known:
        known[id(node)] = 0  # What holds itself does not grow by that.
        parts = cast(list[Any], [] if isinstance(node.value, str) else node.value)
        flat = [each for part in parts for each in _pair(part)]
        known[id(node)] = 1 + sum(_size(each, known) for each in flat)
    return known[id(node)]


def _pair(part: Any) -> tuple[Any, ...]:
    """A mapping's name and value; an entry of a list stands alone."""
    return cast(tuple[Any, ...], part) if isinstance(part, tuple) else (part,)


@contextmanager
def _in_words() -> Generator[None]:
    """What the library complains of, with the line; it raises all kinds."""
    try:
        yield
    except Malformed:
        raise
    except RecursionError:
        raise Malformed("it is nested too deeply") from None
    except Exception as error:
        mark, problem = (getattr(error, name, None) for name in ("problem_mark", "problem"))
        where = f"line {mark.line + 1}: " if mark else ""
        said = str(problem or error).strip().partition("\n")[0][:200]
        raise Malformed(where + said) from None
