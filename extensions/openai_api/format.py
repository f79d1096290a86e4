"""`response_format` and its likes: a grammar that replies keep to."""

from typing import Any, Literal

import msgspec

from extensions.api_kit.api import refused

Str = str | None
ANY_OBJECT = '{"type": "object"}'


class Schema(msgspec.Struct):
    """A JSON schema, by name."""

    schema: dict[str, Any] | None = None
    name: str = ""
    strict: bool | None = None


class Format(msgspec.Struct):
    """What a reply is to be."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: Schema | None = None
    schema: dict[str, Any] | None = None
    """As llama.cpp has it, beside json_object."""


def grammar_of(format: Format | None) -> str:
    """What a request's grammar is; raises Problem where a schema is missing."""
    if not format or format.type == "text":
        return ""
    if format.type == "json_object":
        return msgspec.json.encode(format.schema).decode() if format.schema else ANY_OBJECT
    schema = format.json_schema.schema if format.json_schema else None
    if schema is None:
        where = "response_format.json_schema.schema"
        raise refused(f"{where}: There is none, and the type json_schema needs one.", where)
    return msgspec.json.encode(schema).decode()


class Constraint(msgspec.Struct, kw_only=True):
    """The fields that say what a reply is to be, under the names of all clients."""

    response_format: Format | None = None
    grammar_string: Str = None
    """GBNF, as text-generation-webui has it."""
    grammar: Str = None
    """The same, as llama.cpp and KoboldCpp have it."""
    json_schema: dict[str, Any] | None = None
    """As llama.cpp and TabbyAPI have it."""

    def constraint(self) -> str:
        """The grammar or the schema; raises Problem."""
        if said := self.grammar_string or self.grammar:
            return said
        if self.json_schema:
            return msgspec.json.encode(self.json_schema).decode()
        return grammar_of(self.response_format)
