"""What a JSON schema may ask for here, and how what it asks is read off it."""

import json
from collections.abc import Mapping
from typing import Any

from kernel.contract import Refused

MOST = 2000
"""Repetitions that a grammar can count."""
REMARKS = {
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default",
    "examples", "deprecated", "readOnly", "writeOnly", "strict", "name", "format", "type",
    "contentMediaType", "contentEncoding", "discriminator",
}  # fmt: skip
"""Words that ask for nothing by themselves."""
ASKS: Mapping[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": set(),
    "boolean": set(),
    "null": set(),
}  # fmt: skip
"""What can be asked of each type."""


def literal(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def implied(schema: Mapping[str, Any]) -> Any:
    """The type that is said, or that what is asked tells."""
    if "type" in schema:
        return schema["type"]
    return next((kind for kind, words in ASKS.items() if words & schema.keys()), None)


def only(schema: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """What a schema of several types asks of one of them."""
    others = set[str]().union(*(words for each, words in ASKS.items() if each != kind))
    mine = ASKS.get(kind, set()) if isinstance(kind, str) else set[str]()
    return {key: value for key, value in schema.items() if key in mine or key not in others}


def unknown(schema: Mapping[str, Any], known: set[str]) -> None:
    """Refuse what would not be kept to."""
    if rest := [word for word in schema if word not in known and word not in REMARKS]:
        raise Refused(
            f"A grammar cannot hold what the JSON schema asks with {', '.join(rest)[:200]}. "
            "Leave it out, and check the reply for it."
        )


def listed(schema: Mapping[str, Any], word: str) -> list[Any]:
    found = schema[word]
    if not isinstance(found, list) or not found:
        raise Refused(f"The JSON schema's {word} is no list with something in it. Correct it.")
    return found


def bounds(schema: Mapping[str, Any], low: str, high: str) -> tuple[int, int | None]:
    least, most = schema.get(low, 0), schema.get(high)
    for name, value in ((low, least), (high, most)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise Refused(f"The JSON schema's {name} is no number of things. Correct it.")
    if max(least, most or 0) > MOST:
        raise Refused(f"A grammar can count to {MOST:,}; the JSON schema asks for more.")
    if most is not None and most < least:
        raise Refused(f"The JSON schema's {high} is less than its {low}. Correct it.")
    return least, most
