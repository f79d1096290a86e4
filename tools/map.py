"""Write docs/map.md, where everything is: `python -m tools.map`. The words are the sources' own."""

import ast
from collections.abc import Mapping
from pathlib import Path

from kernel.manifest import Manifest

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "map.md"
HEAD = """# Where everything is

Every file of the kernel and every extension, each in the words with which it begins. `python -m
tools.map` writes this page, and a test looks whether it is up to date.

An extension imports `kernel.api` and nothing else of the kernel; the kernel imports no extension.
What a page shows comes from the templates beside the code: `templates/` for the kernel's,
`extensions/<id>/templates/` for an extension's. Tests lie beside the extension that they are for,
or in `tests/`.
"""

KERNEL: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "What flows through it": (
        "Plain data, the points at which extensions take part, and the bus that tells of changes.",
        ("contract", "sampling", "samplers", "failures", "points", "bus", "turn", "frames"),
    ),
    "A reply, from a turn to the last word": (
        "`Kernel.run` makes a `Reply`: modifiers before the model, a mode, the model in its slot, "
        "and modifiers of what it says, each in a task of its own.",
        (
            "reply", "pipeline", "pipe", "guard", "waiting", "answer", "sentences", "model",
            "loaders",
        ),
    ),
    "The life of an extension": (
        "Found by its manifest, started in the order of what needs what, given a handle whose "
        "scope undoes all of it.",
        (
            "api", "manager", "discovery", "manifest", "records", "needs", "starting", "switching",
            "life", "extension", "scope", "changes", "jobs",
        ),
    ),
    "Settings and other files": (
        "One struct is the form, the check, and the comment in the file.",
        (
            "settings", "sections", "checks", "forms", "secretfiles", "yamltext", "yamltree",
            "remembered", "files", "names", "crash",
        ),
    ),
    "Engines, in processes of their own": (
        "An environment is built, a child is started in it, and plain frames go to and fro.",
        (
            "workers", "environments", "stamps", "spawning", "platform_", "child", "worker",
            "generation", "worker_host",
        ),
    ),
    "The page": (
        "Panels become HTML, an outbox for each page carries it, actions come back.",
        ("app", "pages", "compiled", "clients", "returning", "outbox", "acting", "assets"),
    ),
    "The door": (
        "What is asked goes through the checks first, whoever asks.",
        (
            "security", "keyring", "principals", "hosts", "origins", "wrappings", "firstframe",
            "serving", "listener", "ports", "websocket", "webserver", "logs",
        ),
    ),
    "The start, and what goes wrong": (
        "`server.py` sets itself up and hands over to the command line.",
        (
            "first_start", "__main__", "flags", "oldflags", "server", "watchdog", "rescue",
            "__init__",
        ),
    ),
}  # fmt: skip
"""The modules of the kernel by what they belong to, in the order in which they are best read."""


def text() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, (intro, modules) in KERNEL.items():
        rows = [
            f"| `kernel/{name}.py` | {purpose(ROOT / f'kernel/{name}.py')} |" for name in modules
        ]
        parts.append(f"\n## {title}\n\n{intro}\n\n| | |\n|---|---|\n" + "\n".join(rows) + "\n")
    rows = [
        f"| [{manifest.name}](../extensions/{manifest.id}/README.md) | `extensions/{manifest.id}` "
        f"| {manifest.summary} |"
        for manifest in sorted(map(Manifest.read, folders()), key=lambda each: each.name.casefold())
    ]
    head = "\n## The extensions\n\n| | | |\n|---|---|---|\n"
    return "".join(parts) + head + "\n".join(rows) + "\n"


def folders() -> list[Path]:
    return [file.parent for file in (ROOT / "extensions").glob("*/extension.toml")]


def purpose(file: Path) -> str:
    """The first paragraph of a module's docstring."""
    said = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split())


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
