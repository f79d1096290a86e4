"""What is shown of an extension before anything of it runs, and when consent is needed anew."""

import re
from collections.abc import Iterable
from pathlib import Path

from extensions.settings.api import in_words
from extensions.workshop.shelf import Installed
from kernel.api import Kernel, Manifest, Refused, Status, Struct

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#\\]+)", re.MULTILINE)


class Need(Struct, frozen=True):
    """A Python package that it wants, and how that stands to what is there."""

    requirement: str
    state: str
    """"there", "new" or "other": the lock of the environment has another version."""
    locked: str = ""


class Review(Struct, frozen=True):
    """Everything that a person agrees to."""

    id: str
    name: str
    version: str
    summary: str
    license: str
    source: str
    sha256: str
    files: int
    permissions: tuple[str, ...]
    environment: str = ""
    needs: tuple[Need, ...] = ()
    server_needs: tuple[Need, ...] = ()
    extensions: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    replaces: str = ""
    """The version that is installed now."""
    new_permissions: tuple[str, ...] = ()
    lost_permissions: tuple[str, ...] = ()
    grows: tuple[str, ...] = ()
    """What the version before did not ask for, in words; anything in it needs fresh consent."""

    @property
    def same(self) -> bool:
        """Whether the very files are installed already."""
        return self.replaces == f"{self.version} {self.sha256}"


def review(
    kernel: Kernel, folder: Path, manifest: Manifest, source: str, sha256: str,
    current: Installed | None, before: Manifest | None,
) -> Review:  # fmt: skip
    """Compare what came with what is there."""
    _refuse_clashes(kernel, manifest, installed=current is not None)
    locked = _locked(kernel, manifest)
    here = tuple(manifest.missing())
    worker = manifest.worker
    needs = [_need(wanted, locked) for wanted in (worker.python if worker else ())]
    server = [Need(n, "new" if n in here else "there") for n in manifest.requires.python]
    asked, had = _asked(manifest), _asked(before) if before else set[str]()
    if (
        before
        and "network:none" in before.permissions
        and "network:none" not in manifest.permissions
    ):
        asked.add("it no longer promises to stay off the network")
    return Review(
        manifest.id,
        manifest.name,
        manifest.version,
        manifest.summary,
        manifest.license,
        source,
        sha256,
        sum(1 for file in folder.rglob("*") if file.is_file()),
        manifest.permissions,
        worker.environment if worker else "",
        tuple(needs),
        tuple(server),
        manifest.requires.extensions,
        manifest.paths,
        tuple(command.name for command in manifest.commands),
        f"{current.now.version} {current.now.sha256}" if current else "",
        tuple(p for p in manifest.permissions if before and p not in before.permissions),
        tuple(
            p
            for p in (before.permissions if before else ())
            if p not in (*manifest.permissions, "network:none")
        ),
        tuple(sorted(asked - had)),
    )


def _asked(manifest: Manifest) -> set[str]:
    """All that an extension asks for, as sentences of the same shape for any version."""
    worker = manifest.worker
    return {
        *(f"it asks for {in_words(permission)}" for permission in manifest.permissions),
        *(f"it answers at {path}" for path in manifest.paths),
        *(f"it needs the Python package {name}" for name in manifest.requires.python),
        *(f"its engine needs {name}" for name in (worker.python if worker else ())),
        *([f"its engine runs in the environment {worker.environment}"] if worker else []),
        *(f"it needs the extension {id}" for id in manifest.requires.extensions),
        *(f"it adds the command {command.name}" for command in manifest.commands),
    }


def _refuse_clashes(kernel: Kernel, manifest: Manifest, *, installed: bool) -> None:
    known = kernel.records.get(manifest.id)
    if known and not installed:
        raise Refused(
            f"There is an extension {manifest.id} already, in {known.folder}: one that is "
            "installed cannot take its place."
        )
    others = [r for r in kernel.records.values() if r.id != manifest.id]
    for path in manifest.paths:
        first = path.split("/")[1]
        for other in others:
            theirs = other.manifest.paths if other.manifest else ()
            if first == other.id or any(_overlap(path, each) for each in theirs):
                raise Refused(f"It claims {path}, which {other.name} serves. Tell its author.")
    taken = {c.name for r in others if r.manifest for c in r.manifest.commands} | {"serve"}
    for command in manifest.commands:
        if command.name in taken:
            raise Refused(f"It brings a command {command.name}, which is taken. Tell its author.")


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _locked(kernel: Kernel, manifest: Manifest) -> dict[str, str]:
    """The versions in the lock of the environment that it names."""
    if not manifest.worker:
        return {}
    lock = kernel.workers.environment(manifest).lock
    pins: Iterable[tuple[str, str]] = _PIN.findall(lock.read_text("utf-8")) if lock else ()
    return {_plain(name): version for name, version in pins}


def _need(requirement: str, locked: dict[str, str]) -> Need:
    name, _, version = requirement.partition("==")
    there = locked.get(_plain(re.split(r"[\[<>=!~; ]", name.strip())[0]), "")
    if not there:
        return Need(requirement, "new")
    return Need(requirement, "there" if version.strip() in ("", there) else "other", there)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def running(kernel: Kernel, id: str) -> bool:
    return id in kernel.records and kernel.records[id].is_(Status.RUNNING)
