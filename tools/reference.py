"""Write docs/reference.md from the sources: `python -m tools.reference`.

What is not described there is an error: a test runs this and looks for gaps.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from kernel import api
from kernel.pages import Region
from kernel.points import Point

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "reference.md"

EVENTS = (
    "Changed", "Connected", "Disconnected", "Failure", "Generated", "JobProgress",
    "SectionChanged", "SettingsChanged", "SlotChanged", "Started", "StatusChanged",
)  # fmt: skip
"""What the kernel emits; `@ext.on(Event)` listens."""

REGIONS = {
    "tab": "A tab of the rail, at `/<extension>`. `title` and `icon` are the rail's; `subject` is "
    "what follows in the address.",
    "sidebar": "Below the list of conversations in the chat. `subject` is the conversation.",
    "composer": "Beside the chat's text box. `subject` is the conversation, or empty.",
    "message_actions": "Among the buttons below a message. `subject` is the message.",
    "message_footer": "After the figures below a message. `subject` is the message.",
    "status": "The status line at the foot of every page.",
    "settings": "A section of its own in the Settings tab; `title` heads it.",
    "command": "Buttons and links that the command palette (Ctrl+K) finds.",
    "shortcut": "Rows of the list of keyboard shortcuts (?).",
}

VARIABLES = {
    "paper": "the page itself",
    "surface": "cards, fields, sheets",
    "raised": "what is hovered or stands out",
    "line": "lines that divide",
    "edge": "borders of controls, 3:1 on paper and surface",
    "ink": "text",
    "muted": "quieter text, 4.5:1 on paper and surface",
    "accent": "what can be done, and what is chosen",
    "accent-ink": "text on the accent",
    "accent-wash": "behind what is chosen",
    "danger": "errors",
    "danger-wash": "behind errors",
    "warn": "what waits or needs care",
    "ok": "what went well",
    "code": "behind code",
    "code-word": "keywords in code",
    "code-name": "names in code",
    "code-text": "texts in code",
    "code-number": "numbers in code",
    "shade": "the colour of shadows",
    "veil": "over the page, below a dialog",
    "shadow": "a whole box-shadow for what floats",
    "sans": "the typeface of the page",
    "mono": "the typeface of code",
    "text-1": "the smallest text",
    "text-2": "small text: controls, notes",
    "text-3": "text",
    "text-4": "headings of a page",
    "gap-1": "the smallest gap",
    "gap-2": "between small things",
    "gap-3": "between controls",
    "gap-4": "between groups",
    "gap-5": "between sections",
    "gap-6": "around what stands alone",
    "radius": "rounded corners",
    "measure": "the longest line of text",
    "rail": "the width of the rail of tabs",
    "list": "the width of a list at the side",
    "target": "the least height of a control; larger for fingers",
    "quick": "how long a change takes; 0 where motion is unwanted",
}

BLOCKS = {
    "_alone.html title": "What the browser calls a page without the shell.",
    "_alone.html body": "What stands on a page without the shell.",
    "_form.html fields": "The rows of a form for `kernel.api.fields`, with errors and resets.",
    "_form.html control": "One control of such a row.",
    "_form.html said": "A default in words.",
    "_icon.html icon": 'An icon: `{% from "_icon.html" import icon %}`, then `{{ icon("plus") }}`.',
    "_icon.html keys": 'Keys together: `{{ keys("Mod", "K") }}`; Mod is Ctrl, or ⌘ on a Mac.',
}
"""Blocks and macros of the kernel's templates that others fill in or use."""


def text() -> str:
    """The whole reference."""
    parts = [
        "# Reference\n\nWritten by `python -m tools.reference` from the sources; do not edit. "
        "[extending.md](extending.md) tells how to use it.\n",
        section("The handle", "`ext`, which `setup` receives.", methods()),
        section("Points", "`@ext.on(POINT)` modifies, `ext.add(POINT, thing)` contributes, "
                "`ext.get(POINT)` and `ext.one(POINT)` find.", points()),
        section("Events", "`@ext.on(Event)` listens; `ext.emit` sends your own.", events()),
        section("Page regions", "The first argument of a `Panel`.", rows(regions())),
        section("CSS variables", "`var(--name)`; each knows light and dark.", rows(variables())),
        section("Template blocks", "Of the kernel's templates, for yours.", rows(blocks())),
    ]  # fmt: skip
    return "\n".join(parts)


def section(title: str, intro: str, lines: Iterator[str]) -> str:
    return f"## {title}\n\n{intro}\n\n" + "\n".join(lines) + "\n"


def rows(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, words in pairs:
        yield f"| `{name}` | {words.replace('|', chr(92) + '|')} |"


def methods() -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, method in inspect.getmembers(api.Extension):
        if not name.startswith("_") and name != "leave" and inspect.getdoc(method):
            called = "" if isinstance(method, property) else arguments(method)
            yield f"| `ext.{name}{called}` | {first(method)} |"


def arguments(function: Any) -> str:
    names = [n for n in inspect.signature(function).parameters if n != "self"]
    return "(" + ", ".join(names) + ")"


def all_points() -> Iterator[tuple[str, str, Point[Any]]]:
    """Where each point is imported from, its name, and itself."""
    for name, thing in vars(api).items():
        if isinstance(thing, Point):
            yield "kernel.api", name, thing
    for file in sorted((ROOT / "extensions").glob("*/api.py")):
        module = f"extensions.{file.parent.name}.api"
        for name, thing in vars(import_module(module)).items():
            if isinstance(thing, Point) and getattr(api, name, None) is not thing:
                yield module, name, thing


def points() -> Iterator[str]:
    yield from ("| point | from | |", "|---|---|---|")
    for module, name, point in all_points():
        yield f"| `{name}` | `{module}` | {point.doc} |"


def events() -> Iterator[str]:
    yield from ("| event | fields | |", "|---|---|---|")
    for name in EVENTS:
        kind: Any = getattr(api, name)
        names = getattr(kind, "__struct_fields__", ()) or getattr(kind, "__dataclass_fields__", ())
        fields = ", ".join(f"`{field}`" for field in names)
        yield f"| `{name}` | {fields} | {first(kind)} |"


def regions() -> Iterator[tuple[str, str]]:
    for region in get_args(Region):
        yield region, REGIONS[region]


def variables() -> Iterator[tuple[str, str]]:
    for name in css_variables():
        yield f"--{name}", VARIABLES[name]


def css_variables() -> list[str]:
    root = (
        (ROOT / "static" / "app.css").read_text("utf-8").split(":root {", 1)[1].split("\n}", 1)[0]
    )
    return re.findall(r"^\s*--([\w-]+):", root, re.MULTILINE)


def blocks() -> Iterator[tuple[str, str]]:
    for name in template_blocks():
        yield name, BLOCKS[name]


def template_blocks() -> list[str]:
    """Blocks and macros, as "file name"."""
    found: list[str] = []
    for file in sorted((ROOT / "templates").glob("_*.html")):
        html = file.read_text("utf-8")
        found += [
            f"{file.name} {name}" for name in re.findall(r"\{%-?\s*(?:block|macro)\s+(\w+)", html)
        ]
    return found


def first(thing: Any) -> str:
    """Its docstring as one line of a table."""
    return " ".join((inspect.getdoc(thing) or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
