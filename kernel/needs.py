"""What must be there before an extension can run, and in words why it cannot."""

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from itertools import product

from kernel.manifest import API, Manifest
from kernel.records import Record, Status

Records = Mapping[str, Record]


def _quoted(word: str) -> str:
    """As the system's shell takes it."""
    if sys.platform != "win32":
        return shlex.quote(word)
    return word if re.fullmatch(r"[\w.:\\/=-]+", word) else f'"{word}"'


def unfit(record: Record, records: Records) -> str:
    """Why it cannot run, whatever may start yet, in words for its card; empty when it can."""
    if not (manifest := record.manifest):
        return record.reason
    if not (record.folder / "__init__.py").is_file():
        return "It has no __init__.py yet."
    if manifest.api != API:
        return f"It was made for API {manifest.api}; this is API {API}. Look for an update."
    if missing := manifest.missing():
        run = " ".join(map(_quoted, (sys.executable, "-m", "pip", "install", *missing)))
        return f"It needs {', '.join(missing)}, beside Spindle itself. Run: {run}"
    if clash := path_clash(manifest, records.values()):
        return clash
    if circle := _circle(record.id, records):
        return f"It needs itself: {' → '.join(circle)}."
    if strange := [need for need in record.needs if need not in records]:
        return f"It needs the extension {strange[0]!r}, which is not there. Install that first."
    return ""


def waits(record: Record, records: Records) -> bool:
    """Whether it does not run, though all that it needs does."""
    if not record.needs or not record.is_(Status.OFF, Status.INCOMPATIBLE):
        return False
    return all(need and need.is_(Status.RUNNING) for need in map(records.get, record.needs))


def failed_over(record: Record, other: Record) -> bool:
    """Whether it failed and needs the other, which runs by now and may have been to blame."""
    mine = record.is_(Status.FAILED) and other.id in record.needs
    return mine and other.is_(Status.RUNNING)


def path_clash(manifest: Manifest, records: Iterable[Record]) -> str:
    """Who serves already what `manifest` claims, in words for its card; empty when nobody does.
    Below the page of what it requires it may serve, but not the page."""
    mine = [f"{path}/" for path in manifest.paths]
    for other in records if mine else ():
        if other.id == manifest.id:
            continue
        there = other.is_(Status.RUNNING) or (other.is_(Status.STARTING) and other.lock.locked())
        theirs = other.manifest.paths if other.manifest and there else ()
        page, required = f"/{other.id}", other.id in manifest.requires.extensions
        for their, path in product((page, *theirs), mine):
            below = path.startswith(f"{their}/") and not (required and their == page)
            if below or f"{their}/".startswith(path):
                return f"{other.name} serves {their} already. Switch that off first."
    return ""


def _circle(id: str, records: Records) -> list[str]:
    """The way from an extension, by what each needs, back to itself."""
    ways, seen = [[id]], {id}
    for way in ways:
        for need in records[way[-1]].needs if way[-1] in records else ():
            if need == id:
                return [*way, id]
            if need not in seen:
                seen.add(need)
                ways.append([*way, need])
    return []
