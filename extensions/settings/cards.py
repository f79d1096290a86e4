"""What the cards of the Settings tab show of each extension."""

import platform
from collections.abc import Mapping
from typing import Any

import msgspec

from extensions.settings.api import in_words
from extensions.settings.builds import builds
from kernel.api import Field, Kernel, Record, Status, __version__, fields

REMEDY = "If that goes on, switch it off; after three failures within a minute it is set aside."


def card(
    kernel: Kernel, record: Record, index: int, errors: Mapping[str, str] = {}
) -> dict[str, Any]:
    """The context of _card.html for one extension."""
    manifest = record.manifest
    rows, why = _rows(kernel, record)
    errors = {**why, **problems_of(kernel, record.id), **errors}
    return {
        "id": record.id,
        "name": manifest.name if manifest else record.id,
        "summary": manifest.summary if manifest else "",
        "version": manifest.version if manifest else "",
        "enabled": (kernel.wished if kernel.safe else kernel.enabled)(record.id),
        "safe": kernel.safe and record.id != "settings",
        "status": _status(record),
        "reason": _reason(kernel, record),
        "permissions": [in_words(p) for p in (manifest.permissions if manifest else ())],
        "fields": rows,
        "as_shown": msgspec.json.encode({row.name: _shown(row) for row in rows}).decode(),
        "errors": errors,
        "wrong": len(errors.keys() & {row.name for row in rows}),
        "problems": [why for name, why in errors.items() if name not in {r.name for r in rows}],
        "index": index,
        "count": len(kernel.records),
        "fixed": record.id == "settings",
        "note": "",
        "builds": builds(kernel, record),
    }


def _rows(kernel: Kernel, record: Record) -> tuple[list[Field], dict[str, str]]:
    """The form's rows, and what is wrong with them: one that cannot be made hides no other card."""
    try:
        here = record.handle
        now = here.settings if here else kernel.settings.extension(record.id, record.kind)
        return fields(record.kind, now), {}
    except OSError as error:  # Its secrets, as after a start with sudo.
        why = f"{error.filename} may not be read ({error.strerror}). Make it yours."
        return fields(record.kind), {"": why}
    except Exception as error:
        return [], {"": f"Its settings cannot be shown ({error})."}


def cards(kernel: Kernel) -> list[dict[str, Any]]:
    """All cards in the user's order."""
    return [card(kernel, kernel.records[id], i) for i, id in enumerate(kernel.ordered())]


def problems_of(kernel: Kernel, id: str) -> dict[str, str]:
    """What is wrong with an extension's settings in the file, by field; "" is all of them."""
    mine = f"extensions.{id}."
    problems = list(kernel.settings.problems.items())  # a thread may be reading the file
    return {k[len(mine) :]: why for k, why in problems if f"{k}.".startswith(mine)}


def other_problems(kernel: Kernel) -> list[str]:
    """What is wrong with the file and is shown on no card."""
    told: list[str] = []
    for name, why in kernel.settings.told(kernel.records).items():
        section, _, rest = name.partition(".")
        if section != "extensions" or rest.partition(".")[0] not in kernel.records:
            told.append(f"In {kernel.settings.path.name}, {name}: {why}" if rest else why)
    return told


def look(kernel: Kernel) -> dict[str, Any]:
    """How the page looks, and what the file says of it that cannot be used."""
    wrong = kernel.settings.problems.get("appearance.theme", "")
    return {"theme": kernel.theme, "wrong": wrong}


def _shown(field: Field) -> str:
    """What a form holds that nobody touched, see _form.html."""
    if field.kind == "secret" or (field.kind == "number" and not field.changed):
        return ""
    return str(field.value).lower() if field.kind == "switch" else str(field.value)


def access(kernel: Kernel) -> dict[str, Any]:
    """How to be let in, and the API's address while an extension answers there."""
    running = [r.manifest for r in kernel.records.values() if r.is_(Status.RUNNING)]
    served = any(manifest and "/v1/models" in manifest.paths for manifest in running)
    given = kernel.access
    rules = given.door and given.door.rules()
    return {
        "address": given.address,
        "elsewhere": given.elsewhere,
        "served": served,
        "key": given.key,
        "note": given.note,
        "asks": given.password or bool(rules and rules.require_key),
        "password": given.password,
    }


def about(kernel: Kernel) -> list[tuple[str, str]]:
    """What runs here, and where its files are."""
    return [
        ("Version", __version__),
        ("Licence", "Apache-2.0"),
        ("Python", platform.python_version()),
        ("Settings", str(kernel.settings.path)),
        ("Chats and other data", str(kernel.data)),
        ("Models", str(kernel.models)),
        ("Engines", str(kernel.workers.root)),
    ]


def _status(record: Record) -> str:
    broken = record.status in (Status.INCOMPATIBLE, Status.STUCK)
    return "failed" if broken else str(record.status)


def _reason(kernel: Kernel, record: Record) -> str:
    trouble = kernel.trouble.get(record.id, [])
    if record.status is Status.RUNNING and trouble:
        point, _, error = trouble[-1].partition(": ")
        return f"It runs, but failed in {point}: {error.rstrip('.')}. {REMEDY}"
    return record.reason
