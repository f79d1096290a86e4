"""The document as a person reads it: fields with their types in words."""

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]
WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "yes or no",
         "null": "nothing", "object": "object"}  # fmt: skip


def sections(document: Document) -> list[dict[str, Any]]:
    """The routes of each API, each with the fields that it takes and gives."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, each in methods.items():
            content = each["responses"]["200"].get("content", {})
            row = {
                "id": f"{method}-{path}".replace("/", "-").strip("-"),
                "method": method.upper(),
                "path": path,
                "summary": each["summary"],
                "access": each["description"],
                "takes": sorted(
                    fields(document, body(each.get("requestBody", {}))),
                    key=lambda field: not field["needed"],
                ),
                "gives": fields(document, body({"content": content})),
                "streams": bool(content.keys() - {"application/json"}),
            }
            found.setdefault(each["tags"][0], []).append(row)
    return [{"title": title, "routes": rows} for title, rows in found.items()]


def body(of: Document) -> Document:
    return of.get("content", {}).get("application/json", {}).get("schema", {})


def fields(document: Document, schema: Document) -> list[dict[str, Any]]:
    """The fields of an object; of one that is several together, those of all."""
    if "allOf" in schema:
        return [field for part in schema["allOf"] for field in fields(document, part)]
    schema = resolved(document, schema)
    needed = schema.get("required", ())
    return [
        {
            "name": name,
            "type": words(each),
            "needed": name in needed,
            "says": each.get("description", ""),
        }
        for name, each in schema.get("properties", {}).items()
    ]


def resolved(document: Document, schema: Document) -> Document:
    if "$ref" not in schema:
        return schema
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


def words(schema: Document) -> str:
    """A type, shortly."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2].rpartition(".")[2]
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    if "anyOf" in schema:
        kinds = [words(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if schema.get("type") == "array":
        return f"list of {words(schema.get('items') or {})}"
    return WORDS.get(schema.get("type", ""), "anything")
