"""Trees of plain values from files of others: JSON and YAML, read within limits, and written."""

from collections.abc import Mapping
from datetime import date
from typing import Any, cast

import msgspec

from kernel.api import Malformed, Refused, read_yaml

DEEPEST = 60
LARGEST = 16 << 20
"""Bytes of a JSON text."""
LARGEST_YAML = 1 << 20
"""The reader takes about a second for 240 KB."""
MOST = 300_000
"""Values in one tree, and for 64 characters of a text one more: an alias may stand for much."""
Tree = dict[str, Any]


def from_json(data: bytes) -> Any:
    """A tree from JSON; raises Refused."""
    if len(data) > LARGEST:
        raise Refused("This file is larger than 16 MB. Make it smaller.")
    try:
        return plain(msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf")))
    except RecursionError:
        raise Refused("This file is nested too deeply. It cannot be a character.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        _text(data)  # What is not UTF-8 is told as that.
        raise Refused(f"This is no JSON that can be read: {error}. Mend it.") from None


def from_yaml(data: bytes) -> Any:
    """A tree from YAML; raises Refused."""
    text = yaml_text(data)
    try:
        return plain(read_yaml(text))
    except Malformed as why:
        raise Refused(f"This is no YAML that can be read: {why}. Mend it in an editor.") from None


def yaml_text(data: bytes) -> str:
    """The text of a YAML file; raises Refused."""
    if len(data) > LARGEST_YAML:
        raise Refused("As YAML this is larger than 1 MB. Make it smaller, or a JSON file of it.")
    return _text(data)


def to_json(tree: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(tree), indent=2) + b"\n"


def to_yaml(tree: Mapping[str, Any], before: str = "") -> bytes:
    """YAML of a tree; with the text it had `before`, its comments and order stay."""
    from .scribe import written  # noqa: PLC0415 - its library takes 20 ms of a start

    return written(tree, before)


def plain(value: Any) -> Any:
    """The tree with nothing in it but what JSON has; raises Refused for what is too much."""
    return _plain(value, 0, [0])


# --- inside -------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"This is no text in UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def _plain(value: Any, depth: int, count: list[int]) -> Any:
    count[0] += 1 + (len(value) // 64 if isinstance(value, str) else 0)
    if depth > DEEPEST:
        raise Refused("This file is nested too deeply. It cannot be a character.")
    if count[0] > MOST:
        raise Refused("This file holds too much. It cannot be a character.")
    match value:
        case str():
            if any("\ud800" <= letter <= "\udfff" for letter in value):
                raise Refused("This file holds half of a character. Save it as UTF-8.")
            return str(value)
        case None | bool():
            return value
        case int():
            if not -(2**63) <= value < 2**64:
                raise Refused("This file holds a number that is too large. Mend it.")
            return int(value)
        case float():
            if value != value or abs(value) == float("inf"):
                raise Refused("This file holds a number that is none (NaN). Mend it.")
            return float(value)
        case date():
            return value.isoformat()
        case dict():
            pairs = cast("dict[Any, Any]", value).items()
            return {_key(k): _plain(v, depth + 1, count) for k, v in pairs}
        case list() | tuple() | set():
            return [_plain(each, depth + 1, count) for each in cast("list[Any]", value)]
        case _:
            raise Refused("This file holds something that is no text. Mend it in an editor.")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _plain(key, 0, [0])
    if key is None or isinstance(key, bool | int | float | date):
        return str(_plain(key, 0, [0]))
    raise Refused("This file has a name that is no text. Mend it in an editor.")
