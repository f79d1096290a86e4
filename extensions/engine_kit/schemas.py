"""JSON schemas as GBNF, so that a reply is JSON that fits one.

What a schema says and a grammar cannot hold is refused by name; what is only a remark (title,
description, default, examples, unknown formats) is passed over. Objects keep their properties'
order, as in llama.cpp.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from extensions.engine_kit.json_rules import COMMON, whole
from extensions.engine_kit.prefixes import one_of
from extensions.engine_kit.schema_words import (
    ASKS,
    as_json,
    bounds,
    implied,
    listed,
    literal,
    only,
    unknown,
)
from kernel.contract import Refused

DEEPEST = 60
"""Schemas within schemas."""
LONGEST = 200_000
"""Letters of the grammar."""


def from_schema(text: str) -> str:
    """The grammar of a JSON schema; raises Refused with what cannot be done."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(
            f"The JSON schema of the grammar cannot be read: {str(error)[:200]}. Correct it."
        ) from None
    try:
        return Converter(schema).grammar()
    except (TypeError, AttributeError, ValueError) as error:
        raise Refused(
            f"The grammar's JSON schema is not well formed: {str(error)[:200]}. Correct it."
        ) from error


class Converter:
    def __init__(self, schema: Any) -> None:
        self._whole = schema
        self._rules: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._size = self._depth = 0

    def grammar(self) -> str:
        self._rules["root"] = ""
        self._rules["root"] = self._use("space") and f"{self.of(self._whole)} space"
        return "\n".join(f"{name} ::= {rule}" for name, rule in self._rules.items())

    def of(self, schema: Any) -> str:
        """The name of the rule for a schema."""
        if schema is True or schema == {}:
            return self._use("value")
        if not isinstance(schema, dict):
            raise Refused(f"The JSON schema has {as_json(schema)[:60]} where a schema belongs.")
        self._depth += 1
        if self._depth > DEEPEST:
            raise Refused("The grammar's JSON schema is nested too deeply. Simplify it.")
        try:
            return self._of(schema)
        finally:
            self._depth -= 1

    def _of(self, schema: dict[str, Any]) -> str:
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                unknown(schema, {word})
                return self._either(listed(schema, word))
        if "allOf" in schema:
            return self.of(self._merged(schema))
        if "const" in schema:
            return self._rule("const", literal(as_json(schema["const"])))
        if "enum" in schema:
            return self._rule("enum", one_of(map(as_json, listed(schema, "enum"))))
        kind = schema.get("type") or implied(schema)
        if isinstance(kind, list):
            return self._either([{**only(schema, each), "type": each} for each in kind])
        if kind is None:
            unknown(schema, set())
            return self._use("value")
        if kind not in ASKS:
            raise Refused(f"The JSON schema has the type {kind!r}, which there is none of.")
        unknown(schema, ASKS[kind])
        make: dict[str, Callable[[dict[str, Any]], str]] = {
            "object": self._object, "array": self._array, "string": self._string,
            "integer": self._integer,
        }  # fmt: skip
        return make[kind](schema) if kind in make else self._use(kind)

    # --- what refers to others ---

    def _reference(self, reference: Any) -> str:
        if known := self._named.get(reference):
            return known
        target = self._find(reference)
        name = self._new(re.sub(r"[^A-Za-z0-9]+", "-", reference.rpartition("/")[2]) or "root")
        self._named[reference] = name
        self._set(name, self.of(target))
        return name

    def _find(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise Refused(
                f"The JSON schema refers to {str(reference)[:80]}, and only what lies in it can be "
                "used (#/…). Copy that into it."
            )
        target = self._whole
        for step in filter(None, reference[1:].split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
                target = target[int(step)]
            elif isinstance(target, dict) and step in target:
                target = target[step]
            else:
                raise Refused(f"The JSON schema refers to {reference[:80]}, which is not in it.")
        return target

    def _either(self, schemas: Sequence[Any]) -> str:
        return self._rule("either", " | ".join(self.of(each) for each in schemas))

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        """All objects of allOf as one."""
        parts = [{key: value for key, value in schema.items() if key != "allOf"}]
        for part in listed(schema, "allOf"):
            for _ in range(DEEPEST):
                if isinstance(part, dict) and "$ref" in part:
                    part = self._find(part["$ref"])
            parts.append(part)
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        for part in filter(None, parts):
            if not isinstance(part, dict) or implied(part) not in ("object", None):
                raise Refused("The JSON schema's allOf joins what are no objects. Write it as one.")
            unknown(part, ASKS["object"])
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
            if "additionalProperties" in part:
                merged["additionalProperties"] = part["additionalProperties"]
        return merged

    # --- types ---

    def _object(self, schema: dict[str, Any]) -> str:
        given, required = schema.get("properties", {}), set(schema.get("required", []))
        more = schema.get("additionalProperties", not given)
        properties = {
            **given,
            **{key: True for key in schema.get("required", []) if key not in given},
        }
        self._use("space")
        pairs = [
            (f'{literal(as_json(key))} ":" " "? {self.of(value)}', key in required)
            for key, value in properties.items()
        ]
        if more is not False:
            key = self._use("string")
            other = f'{key} ":" " "? {self.of(more)}'
            pair = self._rule("more", other)
            pairs.append((f'{pair} ("," space {pair})*', False))
        return self._rule("object", f'"{{" space {self._pairs(pairs)} space "}}"')

    def _pairs(self, pairs: Sequence[tuple[str, bool]]) -> str:
        """Pairs in order, some of which may be left out, with commas between those that are there:
        for each place a rule for the rest when something stands before it, and one when not."""
        after = before = '""'
        for at in range(len(pairs) - 1, -1, -1):
            pair, required = pairs[at]
            with_comma = f'"," space {pair} {after}'
            first = f"{pair} {after}"
            if not required:
                with_comma, first = f"{with_comma} | {after}", f"{first} | {before}"
            after, before = self._rule("rest", with_comma), self._rule("first", first)
        return before

    def _array(self, schema: dict[str, Any]) -> str:
        self._use("space")
        first = schema.get("prefixItems", [])
        items = schema.get("items", True)
        if isinstance(items, list):
            first, items = items, False
        if first:
            wanted = schema.get("minItems", len(first))
            if wanted != len(first) or schema.get("maxItems", wanted) != wanted:
                raise Refused(
                    "A JSON schema with prefixItems has exactly these. Leave minItems out."
                )
            inner = ' "," space '.join(self.of(each) for each in first)
            return self._rule("array", f'"[" space {inner} space "]"')
        least, most = bounds(schema, "minItems", "maxItems")
        item = self.of(items) if items is not False else ""
        if not item or most == 0:
            return self._rule("array", '"[" space "]"')
        rest = "" if most is None else str(most - 1)
        inner = f'{item} ("," space {item}){{{max(0, least - 1)},{rest}}}'
        return self._rule("array", f'"[" space {inner if least else f"({inner})?"} space "]"')

    def _string(self, schema: dict[str, Any]) -> str:
        least, most = bounds(schema, "minLength", "maxLength")
        if not least and most is None:
            kind = schema.get("format", "")
            return self._use(kind if kind in ("date", "time", "date-time", "uuid") else "string")
        letter, limit = self._use("letter"), "" if most is None else most
        return self._rule("string", rf'"\"" {letter}{{{least},{limit}}} "\""')

    def _integer(self, schema: dict[str, Any]) -> str:
        low, high = schema.get("minimum"), schema.get("maximum")
        if (above := schema.get("exclusiveMinimum")) is not None:
            low = above + 1 if low is None else max(low, above + 1)
        if (below := schema.get("exclusiveMaximum")) is not None:
            high = below - 1 if high is None else min(high, below - 1)
        if low is None and high is None:
            return self._use("integer")
        for bound in (low, high):
            if bound is not None and (not isinstance(bound, int) or abs(bound) >= 10**16):
                raise Refused("The JSON schema bounds a whole number by what is none. Correct it.")
        if low is not None and high is not None and low > high:
            raise Refused(
                "The JSON schema asks for a number between bounds that cross. Correct it."
            )
        return self._rule("integer", whole(low, high))

    # --- rules ---

    def _use(self, name: str) -> str:
        """A rule that many schemas share."""
        if name not in self._rules:
            rule, needs = COMMON[name]
            self._set(name, rule)
            for each in needs:
                self._use(each)
        return name

    def _rule(self, kind: str, rule: str) -> str:
        name = self._new(kind)
        self._set(name, rule)
        return name

    def _new(self, kind: str) -> str:
        name = f"{kind}-{len(self._rules)}"
        self._rules[name] = ""
        return name

    def _set(self, name: str, rule: str) -> None:
        self._size += len(name) + len(rule) + 6
        if self._size > LONGEST:
            raise Refused("The grammar's JSON schema is too large. Simplify it.")
        self._rules[name] = rule
