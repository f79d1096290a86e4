"""`python server.py new | check | install | update | remove | bisect`."""

import asyncio
import shutil
import sys
from pathlib import Path

from extensions.workshop import checking, terminal
from extensions.workshop.drafting import draft
from extensions.workshop.installer import Installer, prepare
from extensions.workshop.libraries import alone
from extensions.workshop.review import Review
from kernel.api import Kernel, Refused


def _absolute(target: str) -> Path:
    return Path(target).resolve()


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _said(fraction: float | None, note: str) -> None:
    # The environment is the first half of loading a model, for which the report is made.
    _print(f"{'' if fraction is None else f'{min(1, fraction * 2):4.0%}  '}{note}")


async def new(kernel: Kernel, name: str, into: Path | None = None) -> None:
    """Make an extension that works and has a test."""
    folder = draft(kernel, name, into or kernel.data / "extensions")
    where = "has it already" if not into else "has it once it lies in data/extensions"
    _print(
        f"{folder} is made: a manifest, a setting, a modifier, a panel, a README and a test.\n\n"
        f"    python server.py check {folder}\n\n"
        "runs its test and the suite that every extension must pass. A server that runs\n"
        f"{where}. Change __init__.py now: with “Edit and see”, a setting of the\n"
        "Workshop, what you save is what runs. docs/extending.md goes on from here."
    )


async def check(kernel: Kernel, target: str) -> None:
    """Run the suite that every extension must pass, and its tests."""
    record = kernel.records.get(target)
    folder = record.folder if record else _absolute(target)
    _print(f"{folder}")
    well = await checking.check(folder)
    if not await checking.tests(folder) or not well:
        raise Refused("It does not keep all of that yet.")
    _print("All is well.")


async def bisect(kernel: Kernel) -> None:
    """Find the extension that causes trouble, with the questions in the terminal."""
    await terminal.search(kernel)


async def install(kernel: Kernel, targets: list[str], consent: str | None = None) -> None:
    """Build the environment of an extension that is here, or bring one in."""
    for target in targets:
        record = kernel.records.get(target)
        if not record:
            await _bring(Installer(kernel), target, consent)
        elif not record.manifest or not record.manifest.worker:
            raise Refused(f"{target} is here, and has no engine that needs an environment.")
        else:
            await prepare(kernel, record.manifest, _said)
            _print(f"{record.name} is installed.")


async def update(
    kernel: Kernel, id: str, source: str | None = None, consent: str | None = None
) -> None:
    """Bring a newer version in; what asks for more than before needs to be agreed to."""
    installer = Installer(kernel)
    source = source or await asyncio.to_thread(installer.newest, id, lambda: False)
    await _bring(installer, source, consent, id)


async def remove(kernel: Kernel, id: str, with_libraries: bool = False) -> None:
    """Take an installed extension away."""
    name, left = kernel.name(id), alone(kernel, id)
    await Installer(kernel).remove(id, libraries=with_libraries)
    _print(f"{name} is removed. Its settings and data stay, should it come back.")
    if left and not with_libraries:
        places = ", ".join(str(kernel.workers.root / each) for each in left)
        _print(f"So do the libraries of its engine, which nothing else needs: {places}")


async def rollback(kernel: Kernel, id: str) -> None:
    """Use the version before."""
    _print(f"{id} is version {await Installer(kernel).back(id)} again.")


async def _bring(installer: Installer, source: str, consent: str | None, id: str = "") -> None:
    try:
        shown = await asyncio.to_thread(installer.fetch, source, _said, lambda: False, id)
        _print(in_words(shown))
        if shown.same:
            return _print("These very files are installed already: there is nothing to do.")
        if shown.replaces and not shown.grows and consent is None and not sys.stdin.isatty():
            _print("It asks for nothing that was not agreed to before.")
            consent = shown.sha256
        consent = consent or _asked(shown)
        await installer.use(shown, consent, _said)
    finally:
        shutil.rmtree(installer.staging, ignore_errors=True)
    _print(f"{shown.name} {shown.version} is installed.")


def _asked(shown: Review) -> str:
    if not sys.stdin.isatty():
        raise Refused(
            "Nothing was installed: nobody is here to agree. Agree to just these files with\n"
            f"    --consent {shown.sha256}"
        )
    _print("Update it? Type yes." if shown.replaces else "Install it? Type yes.")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("Nothing was installed.")
    return shown.sha256


def in_words(shown: Review) -> str:
    """The review, as a terminal shows it."""
    update = f" (now {shown.replaces.partition(' ')[0]})" if shown.replaces else ""
    lines = [
        f"{shown.name} {shown.version}{update}: {shown.summary}",
        f"  from        {shown.source}",
        f"  licence     {shown.license or 'none said'}",
        f"  files       {shown.files}, SHA-256 {shown.sha256}",
    ]
    asks = "asks anew" if shown.replaces else "asks"
    lines += [f"  {asks:12}{what}" for what in shown.grows]
    lines += [f"  gives up    {what}" for what in shown.lost_permissions]
    for need in shown.needs:
        how = {"new": "new in", "there": "is in", "other": "does not fit"}[need.state]
        other = f" ({need.locked} there)" if need.state == "other" else ""
        lines.append(f"  package     {need.requirement}: {how} {shown.environment}{other}")
    for need in shown.server_needs:
        lines.append(f"  package     {need.requirement}: {need.state} beside the server")
    lines.append("Its code will run inside the server, which cannot hold it to what it says.")
    return "\n".join(_plain(line) for line in lines)


def _plain(text: str) -> str:
    """No control sequences: a name must not repaint the terminal in which consent is given."""
    return "".join(c if c.isprintable() else "�" for c in text)
