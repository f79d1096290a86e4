"""What the cards of the Settings tab show of each extension."""

from collections.abc import Mapping
from typing import Any

from kernel.api import Kernel, Record, Status, fields

WORDS = {
    "kernel:admin": "switch extensions and change settings",
    "network:none": "nothing on the network",
    "processes": "start child processes",
    "processes:engine": "start the engine as a child process",
}
"""Permissions as a person reads them; one not listed is shown as it stands."""


def card(
    kernel: Kernel, record: Record, index: int, errors: Mapping[str, str] = {}
) -> dict[str, Any]:
    """The context of _card.html for one extension."""
    manifest = record.manifest
    now = (
        record.handle.settings
        if record.handle
        else kernel.settings.extension(record.id, record.kind)
    )
    problems = {
        name.rpartition(".")[2]: sentence
        for name, sentence in kernel.settings.problems.items()
        if name.startswith(f"extensions.{record.id}.")
    }
    return {
        "id": record.id,
        "name": manifest.name if manifest else record.id,
        "summary": manifest.summary if manifest else "",
        "version": manifest.version if manifest else "",
        "enabled": kernel.enabled(record.id),
        "status": _status(record),
        "reason": _reason(kernel, record),
        "permissions": [_in_words(p) for p in (manifest.permissions if manifest else ())],
        "fields": fields(record.kind, now),
        "errors": {**problems, **errors},
        "index": index,
        "count": len(kernel.records),
        "fixed": record.id == "settings",
        "note": "",
    }


def cards(kernel: Kernel) -> list[dict[str, Any]]:
    """All cards in the user's order."""
    return [card(kernel, kernel.records[id], i) for i, id in enumerate(kernel.ordered())]


def _status(record: Record) -> str:
    broken = record.status in (Status.INCOMPATIBLE, Status.STUCK)
    return "failed" if broken else str(record.status)


def _reason(kernel: Kernel, record: Record) -> str:
    trouble = kernel.trouble.get(record.id, [])
    if record.status is Status.RUNNING and trouble:
        return f"It runs, but something failed: {trouble[-1]}"
    return record.reason


def _in_words(permission: str) -> str:
    kind, _, what = permission.partition(":")
    if permission in WORDS or not what:
        return WORDS.get(permission, permission)
    verb, _, where = what.partition(" ")
    if kind == "files":
        return f"{verb} files in {where or 'the data folder'}"
    return f"reach {what}" if kind == "network" else permission
