"""Every field that holds text and may reach a page, read off the running application."""

import dataclasses
import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import msgspec
from msgspec import inspect

from kernel.acting import ACTIONS
from kernel.api import LOADERS
from kernel.testing import App

MODULES = ("kernel.api", "kernel.manifest", "kernel.records")
"""Where the kernel's own data is defined that templates show; extensions' are in their api.py."""


def texts(app: App) -> set[str]:
    """Fields of actions, settings, options of loaders, columns of the store, fields of data."""
    return {*actions(app), *settings(app), *options(app), *columns(app), *data(app)}


def actions(app: App) -> Iterator[str]:
    for entry in app.kernel.registry.entries(ACTIONS):
        for field in fields(entry.value.kind):
            yield f"action {entry.value.name}.{field}"


def settings(app: App) -> Iterator[str]:
    for record in app.kernel.records.values():
        for field in fields(record.kind):
            yield f"setting {record.id}.{field}"


def options(app: App) -> Iterator[str]:
    for loader in app.kernel.registry.values(LOADERS):
        for field in fields(loader.Options):
            yield f"option {loader.id}.{field}"


def columns(app: App) -> Iterator[str]:
    with closing(sqlite3.connect(app.kernel.data / "chats.sqlite3")) as store:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in store.execute(tables).fetchall():
            for column in store.execute(f"PRAGMA table_info('{table}')").fetchall():
                if column[2] == "TEXT":
                    yield f"column {table}.{column[1]}"


def data(app: App) -> Iterator[str]:
    apis = [f"extensions.{id}.api" for id, record in app.kernel.records.items()
            if (record.folder / "api.py").exists()]  # fmt: skip
    for module in (*MODULES, *apis):
        try:
            kinds = vars(importlib.import_module(module)).values()
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            continue  # It is for workers alone.
        for kind in kinds:
            if isinstance(kind, type) and kind.__module__.split(".")[0] in ("kernel", "extensions"):
                for field in fields(kind):
                    yield f"data {kind.__name__}.{field}"


def fields(kind: type) -> Iterator[str]:
    """The fields of a struct or dataclass that can hold text of any kind."""
    if issubclass(kind, msgspec.Struct):
        for info in msgspec.structs.fields(kind):
            if holds_text(inspect.type_info(info.type)):
                yield info.name
    elif dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            if field.type in (str, BaseException):
                yield field.name


def holds_text(of: inspect.Type) -> bool:
    match of:
        case inspect.Metadata(type=inside):
            return holds_text(inside)
        case inspect.UnionType(types=types):
            return any(map(holds_text, types))
        case inspect.StrType(pattern=pattern):
            return pattern is None
        case inspect.AnyType() | inspect.BytesType():
            return True
        case inspect.DictType(key_type=key, value_type=value):
            return holds_text(key) or holds_text(value)
        case inspect.CollectionType(item_type=item):
            return holds_text(item)
        case inspect.TupleType(item_types=items):
            return any(map(holds_text, items))
        case inspect.CustomType(cls=cls):
            return not (isinstance(cls, type) and issubclass(cls, bool | int | float | type))
        case _:
            return False
