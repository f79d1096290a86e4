"""The OpenAPI document (3.1), made from the structs that read requests and write answers."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from starlette.routing import Route

from extensions.api_kit.api import Api, Endpoint, Fault
from kernel.api import Router, Routes, Sampling, Struct, __version__

REF = "#/components/schemas/{name}"
NAMES = re.compile(r"\{(\w+)(?::\w+)?\}")
SAYS = {
    "public": "For everybody.",
    "page": "For pages of Spindle, and who may do everything.",
    "files": "For pages of Spindle, and who may do everything; a body may be as large as a file.",
    "inference": "For programs: on this machine without a key, else with one.",
    "admin": "For who may do everything.",
}
FREE = ("public", "inference")
"""Classes that a program on this machine may ask without a key."""


class Refusal(msgspec.Struct):
    """How errors are told: with a status before the first word, as an event after it."""

    error: Fault


class Operation(Struct, frozen=True):
    """One route, whoever serves it."""

    tag: str
    path: str
    method: str
    summary: str
    access: str
    takes: Any = None
    gives: Any = None
    events: Any = None
    samples: bool = False
    stream_type: str = ""


def operations(apis: Sequence[Api], routes: Iterable[Routes]) -> list[Operation]:
    """Those that APIs describe, then all others that pages and programs may ask."""
    found = [of_endpoint(api, each) for api in apis for each in api.endpoints]
    known = {(each.path, each.method) for each in found}
    rest = [each for each in others(routes) if (each.path, each.method) not in known]
    return [*found, *rest]


def of_endpoint(api: Api, each: Endpoint) -> Operation:
    access = "page" if each.admin else "inference"
    kinds = (each.takes, each.gives, each.events)
    more = (each.samples, api.tongue.stream_type)
    return Operation(api.label, plain(each.path), each.method, each.summary, access, *kinds, *more)


def others(routes: Iterable[Routes]) -> Iterator[Operation]:
    for each in routes:
        for route in each.app.routes if isinstance(each.app, Router) else ():
            if isinstance(route, Route):
                for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                    says = first_line(route.endpoint) or "A route of an extension."
                    yield Operation("Other", plain(route.path), method, says, each.access)


def first_line(function: Any) -> str:
    return (getattr(function, "__doc__", "") or "").strip().partition("\n")[0]


def plain(path: str) -> str:
    """`/v1/models/{id:path}` as OpenAPI writes it."""
    return NAMES.sub(r"{\1}", path)


def document(found: Sequence[Operation]) -> dict[str, Any]:
    """The whole document, as plain data."""
    kinds = [kind for each in found for kind in (each.takes, each.gives, each.events) if kind]
    unique = [*{id(kind): kind for kind in (*kinds, Refusal, Sampling)}.values()]
    schemas, components = msgspec.json.schema_components(unique, ref_template=REF)
    schema = {id(kind): each for kind, each in zip(unique, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for each in found:
        paths.setdefault(each.path, {})[each.method.lower()] = operation(each, schema)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Spindle", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def operation(each: Operation, schema: dict[int, Any]) -> dict[str, Any]:
    refusal = schema[id(Refusal)]
    made: dict[str, Any] = {
        "tags": [each.tag],
        "summary": each.summary,
        "description": SAYS[each.access],
        "security": [{}, {"key": []}] if each.access in FREE else [{"key": []}],
        "responses": {
            "200": {"description": "It went well.", "content": contents(each, schema)},
            "default": {
                "description": "It did not: the message says why and what to do.",
                "content": {"application/json": {"schema": refusal}},
            },
        },
    }
    if not made["responses"]["200"]["content"]:
        del made["responses"]["200"]["content"]
    if names := NAMES.findall(each.path):
        text = {"type": "string"}
        made["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": text} for name in names
        ]
    if each.takes:
        body = schema[id(each.takes)]
        body = {"allOf": [body, schema[id(Sampling)]]} if each.samples else body
        content = {"application/json": {"schema": body}}
        made["requestBody"] = {"required": True, "content": content}
    return made


def contents(each: Operation, schema: dict[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if each.gives:
        found["application/json"] = {"schema": schema[id(each.gives)]}
    if each.events:
        found[each.stream_type] = {"schema": schema[id(each.events)]}
    return found
