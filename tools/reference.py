"""Write docs/reference.md from the sources: `python -m tools.reference`.

What is not described there is an error: a test runs this and looks for gaps.
"""

import inspect
import re
import sys
from collections.abc import Awaitable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from extensions.conversations.api import Conversation, StoredMessage
from extensions.conversations.api import Store as Conversations
from kernel import api, contract, testing
from kernel.manifest import Argument, Command, Flag, Manifest, Requires, Variant, WorkerTable
from kernel.pages import Region
from kernel.points import Point

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "reference.md"

EVENTS = (
    "Changed", "Connected", "Disconnected", "Failure", "Generated", "JobProgress",
    "SectionChanged", "SettingsChanged", "SlotChanged", "Started", "StatusChanged",
)  # fmt: skip
"""What the kernel emits; `@ext.on(Event)` listens."""

OTHERS = {
    "extensions.characters.api": ("LibraryChanged", "Renamed", "WorldRenamed"),
    "extensions.conversations.api": ("Erased", "Rearranged", "Restored"),
    "extensions.downloader.api": ("Downloaded", "DownloadMoved"),
    "extensions.prompts.api": ("CastChanged", "CastRenamed"),
}
"""What extensions emit, by where it is imported from with the extension in `requires`."""

DATA = (
    "Delta", "Turn", "Past", "Draft", "Message", "Text", "Reasoning", "Image", "Audio", "Request",
    "Finish", "Usage", "Timings", "Token", "Mark", "Panel", "Routes", "Everyone", "Conversation",
    "Client", "Action", "JobKind", "Refused", "Sentences", "Secret", "Phase", "Principal", "Key",
)  # fmt: skip
"""What modifiers, actions and panels handle."""

ENGINES = (
    "Loader", "Model", "Generation", "Engine", "ModelInfo", "Output", "Samplers", "ToInstall",
)  # fmt: skip
"""What loads models; of `kernel.contract` where `kernel.api` has it not."""

INTERNAL = ("leave", "start", "purge", "sweep")
"""Methods that only their owner calls."""

MANIFEST = {
    "id": "The folder's name: small letters, digits, `_`. Ids and actions begin with it.",
    "name": "What people read.",
    "version": "Yours, as text.",
    "summary": "What it does, in a sentence.",
    "api": "1.",
    "license": "Such as `Apache-2.0`.",
    "authors": "A list of names.",
    "paths": "Addresses besides `/ext/<id>` that it serves, such as `/v1/audio`; below the "
    "page of another extension, `/<its id>`, only where it requires that.",
    "permissions": "What it does outside itself, shown before it is installed; see below.",
    "enabled": "Whether it is on until a user says otherwise; by default it is.",
    "late": "Whether it may start after the first page, which shows nothing of it; not "
    "when one of its flags was said.",
    "requires": "`[requires]`: what must be there first.",
    "requires.extensions": "Their ids; their `api.py` may be imported then.",
    "requires.python": "Packages beside the server, `name==version`.",
    "worker": "`[worker]`: the environment of its child processes.",
    "worker.environment": "Its name; extensions of one name share it.",
    "worker.python": "Packages in it, `name==version`.",
    "worker.variants": "`[worker.variants.cuda]`: another build, for other hardware.",
    "worker.variants.index": "The package index it comes from.",
    "worker.variants.python": "Its packages.",
    "worker.variants.size": "What it takes on disk.",
    "worker.variants.title": "Its name on the extension's card; without one it is not chosen.",
    "worker.variants.without": "`nvidia`: it is chosen by itself on Linux where no such card is.",
    "worker.variables": "Environment variables.",
    "worker.title": "What the extension's card calls it, where its variants have titles.",
    "worker.size": 'What it takes on disk, such as `"130 MB"`.',
    "flags": "`[[flags]]`: flags of the command line, read with `ext.flag(name)`.",
    "flags.name": "Without the dashes.",
    "flags.help": "What `--help` says.",
    "flags.type": "`bool` (the default), `str`, `int`, `float`, `path` or `list`.",
    "flags.metavar": "What stands for its value in `--help`.",
    "flags.alone": "What it means without a value; without this key it needs one.",
    "flags.default": "Its value when nobody gives one.",
    "commands": "`[[commands]]`: `python server.py <name>`.",
    "commands.name": "Small letters and dashes.",
    "commands.help": "What `--help` says.",
    "commands.code": "`file.py:function`, called with the kernel and the words.",
    "commands.arguments": "Its words: `{name, help, many}`.",
    "commands.arguments.name": "What the function calls it.",
    "commands.arguments.help": "What `--help` says.",
    "commands.arguments.many": "Whether it takes several.",
    "commands.flags": "Its flags, as above.",
}

PERMISSIONS = {
    "network:none": "it sends nothing and asks for nothing elsewhere",
    "network:loopback": "only within this machine",
    "network:WHAT": "such as `network:the repositories you install from`",
    "files:data": "its own folder in the data folder, `ext.data`",
    "files:read WHERE": "also `write`, `change`, `delete`; without WHERE the data folder",
    "processes:WHAT": "programs that it runs, such as `processes:git`",
    "processes:engine": "a worker",
    "kernel:admin": "`ext.admin`: it switches extensions and changes settings",
}

REGIONS = {
    "tab": "A tab of the rail, at `/<extension>`. `title` and `icon` are the rail's (`icon`: the "
    "path data of a drawing of 24 by 24, as in an SVG's `d`); `subject` is "
    "what follows in the address.",
    "sidebar": "Below the list of conversations in the chat. `subject` is the conversation.",
    "composer": "Beside the chat's text box. `subject` is the conversation, or empty.",
    "message_actions": "In the More menu of a message. `subject` is the message.",
    "message_footer": "After the figures below a message. `subject` is the message.",
    "models": "The Model page: with a `title` a section of its own at `/models/<extension>`, "
    "`subject` is what follows; without one around the list of models, above it where `order` is "
    "below 0.",
    "model_file": "Beside one model on the Model page. `subject` is its name below `models/`; draw "
    "nothing where there is nothing to say of it.",
    "status": "The status line at the foot of every page. `subject` is what follows the tab in its "
    "address: a conversation where `client.tab` is `chat` or empty. It is drawn anew when the page "
    "goes elsewhere.",
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
    "speech": "what stands between quotation marks",
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
    "_form.html row": "One of these rows.",
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
        section("The handle", "`ext`, which `setup` receives. `ext.settings` are its settings, "
                "`ext.data` is a folder of its own, not there until it makes it; "
                "`ext.folder` where its files lie, `ext.log` a logger. What begins with `await` "
                "does nothing without it.", methods()),
        section("Data", "Of `kernel.api`. A modifier makes new ones; what it got never changes.",
                data(DATA, api)),
        section("Jobs", "What the work of `ext.job(title, work)` and the handler of a `JobKind` "
                "are given. A `JobKind` keeps plain data with `job.keep(data)`, and finds it in "
                "`job.checkpoint` after a restart.", methods(api.Job, "job")),
        section("Points", "`@ext.on(POINT)` modifies, `ext.add(POINT, thing)` contributes, "
                "`ext.get(POINT)` and `ext.one(POINT)` find.", points()),
        section("Events", "`@ext.on(Event)` listens; `ext.emit` sends your own. Those of an "
                "extension want it in `requires`.", events()),
        section("Loaders and workers", "[loaders.md](loaders.md) writes one. `ext.worker` gives a "
                "`worker`. `Engine` and `Output` are of `kernel.contract`, for the child process.",
                engines()),
        section("Page regions", "The first argument of a `Panel`.", rows(regions())),
        section("CSS variables", "`var(--name)`; each knows light and dark.", rows(variables())),
        section("Template blocks", "Of the kernel's templates, for yours.", rows(blocks())),
        section("Conversations", "With `conversations` in `requires`: `store = ext.one(STORE)`. "
                "`(await store.get(id)).messages` are those that are shown, oldest first.",
                store()),
        section("The manifest", "`extension.toml`; a key that is not here is an error.",
                rows(manifest())),
        section("Permissions", "Shown in these words or as they stand; not enforced.",
                rows(iter(PERMISSIONS.items()))),
        section("Tests", "Of `kernel.testing`: `async with running(*extensions, model=…, "
                "settings=…) as app`, where each is an id or a folder, and nothing else runs but "
                "what they require; `page = await app.open(path)`.", tests()),
    ]  # fmt: skip
    return "\n".join(parts)


def section(title: str, intro: str, lines: Iterator[str]) -> str:
    return f"## {title}\n\n{intro}\n\n" + "\n".join(lines) + "\n"


def rows(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, words in pairs:
        yield f"| `{name}` | {words.replace('|', chr(92) + '|')} |"


def methods(kind: Any = api.Extension, name: str = "ext") -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from verbs(kind, name)


def verbs(kind: Any, said: str) -> Iterator[str]:
    for name, method in inspect.getmembers(kind):
        if not name.startswith("_") and name not in INTERNAL and inspect.getdoc(method):
            called = "" if isinstance(method, property) else arguments(method)
            waits = "await " * inspect.iscoroutinefunction(method)
            yield f"| `{waits}{said}.{name}{called}` | {first(method)} |"


def arguments(function: Any) -> str:
    parts: list[str] = []
    for each in inspect.signature(function).parameters.values():
        if each.kind is each.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        if each.name != "self":
            parts.append(argument(each))
    return "(" + ", ".join(parts) + ")"


def argument(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is parameter.empty:
        return str(parameter.replace(annotation=parameter.empty))
    said = (
        f"{type(default).__name__}.{default.name}" if isinstance(default, Enum) else repr(default)
    )
    return f"{parameter.name}={said}"


def data(names: tuple[str, ...], where: Any) -> Iterator[str]:
    yield from ("| | fields | |", "|---|---|---|")
    for name in names:
        yield described(name, getattr(where, name))


def described(name: str, kind: Any) -> str:
    types: dict[str, Any] = inspect.get_annotations(kind)
    fields = ", ".join(f"`{field}: {typed(t)}`" for field, t in types.items() if field[0] != "_")
    if issubclass(kind, Enum):
        fields = ", ".join(f"`{member.name}`" for member in kind)
    return f"| `{name}` | {fields} | {first(kind)} |"


def typed(kind: Any) -> str:
    """A type in few words."""
    words = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    words = re.sub(r"\b[a-z_]\w*\.(?=[\w.]*\w)", "", words).replace("|", "\\|")
    words = re.sub(r"Callable\[.*", "function", words)
    words = re.sub(r"Annotated\[(\w+), Meta\(.*?\)\]", r"\1", words)
    words = re.sub(r"Optional\[(\w+)\]", r"\1 \\| None", words)
    return words if len(words) < 70 else words.split("[")[0] + "[…]"


def engines() -> Iterator[str]:
    yield from ("| | fields and methods | |", "|---|---|---|")
    for name in ENGINES:
        yield promised(name, getattr(api, name, getattr(contract, name, None)))
    yield from ("", "| | |", "|---|---|")
    taken = arguments(api.WorkerLoader.__init__)
    yield f"| `WorkerLoader{taken}` | {first(api.WorkerLoader)} |"
    yield from verbs(api.Worker, "worker")


def promised(name: str, kind: Any) -> str:
    """A row with the fields and the methods of a class."""
    has = [f"`{field}: {typed(t)}`" for field, t in inspect.get_annotations(kind).items()]
    for method, function in vars(kind).items():
        if inspect.isfunction(function) and method[0] != "_":
            waits = "await " * inspect.iscoroutinefunction(function)
            has.append(f"`{waits}{method}{arguments(function)}`")
    return f"| `{name}` | {', '.join(has)} | {first(kind)} |"


def store() -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from (line for line in verbs(Conversations, "store") if "store.open(" not in line)
    for kind in (Conversation, StoredMessage):
        names = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
        yield f"| `{kind.__name__}` | {first(kind)} {names} |"


def manifest() -> Iterator[tuple[str, str]]:
    for name in manifest_keys():
        yield name, MANIFEST[name]


def manifest_keys() -> list[str]:
    """Every key of extension.toml, those of tables with the table's name before them."""
    tables: dict[str, Any] = {
        "requires.": Requires, "worker.": WorkerTable, "worker.variants.": Variant, "flags.": Flag,
        "commands.": Command, "commands.arguments.": Argument,
    }  # fmt: skip
    names = list(Manifest.__struct_fields__)
    for table, kind in tables.items():
        names += [table + field for field in kind.__struct_fields__]
    return sorted(names, key=list(MANIFEST).index) if set(names) <= set(MANIFEST) else names


def tests() -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from verbs(testing.App, "app")
    yield from verbs(testing.Page, "page")
    yield f"| `Scripted(*scripts, pause, gate, …)` | {first(testing.Scripted)} |"


def all_points() -> Iterator[tuple[str, str, Point[Any]]]:
    """Where each point is imported from, its name, and itself."""
    for name, thing in vars(api).items():
        if isinstance(thing, Point):
            yield "kernel.api", name, thing
    seen: list[Point[Any]] = []
    files = (ROOT / "extensions").glob("*/api.py")
    for file in sorted(files, key=lambda file: (file.parent.name == "writing", file)):
        module = f"extensions.{file.parent.name}.api"
        if " Point" not in file.read_text("utf-8"):
            continue  # It may be for workers alone, and import what only their environment has.
        for name, thing in vars(import_module(module)).items():
            if not isinstance(thing, Point) or getattr(api, name, None) is thing:
                continue
            if not any(thing is each for each in seen):  # An api may hand on another one's.
                seen.append(cast(Point[Any], thing))
                yield module, name, thing


def points() -> Iterator[str]:
    yield from ("| point | from | takes | |", "|---|---|---|---|")
    for module, name, point in all_points():
        yield f"| `{name}` | `{module}` | `{takes(name, point)}` | {point.doc} |"


def takes(name: str, point: Point[Any]) -> str:
    """What is contributed to a point, as its declaration says: a class, or how it is called."""
    homes = (m for m in [*sys.modules.values()] if getattr(m, name, None) is point)
    declared = next(said for m in homes if (said := inspect.get_annotations(m).get(name)))
    [kind] = get_args(declared)
    if not (inside := get_args(kind)):
        return typed(kind)
    *given, answer = (*inside[0], inside[1])
    waits = get_origin(answer) is Awaitable
    said = inspect.formatannotation(get_args(answer)[0] if waits else answer)
    said = f"({', '.join(map(typed, given))}) -> {re.sub(r'[a-z_.]+[.]', '', said)}"
    return f"{'async ' * waits}{said}".replace("|", "\\|")


def all_events() -> Iterator[tuple[str, str, Any]]:
    """Where each event is imported from, its name, and its class."""
    for name in EVENTS:
        yield "kernel.api", name, getattr(api, name)
    for module, names in OTHERS.items():
        for name in names:
            yield module, name, getattr(import_module(module), name)


def events() -> Iterator[str]:
    yield from ("| event | from | fields | |", "|---|---|---|---|")
    for module, name, kind in all_events():
        names = getattr(kind, "__struct_fields__", ()) or getattr(kind, "__dataclass_fields__", ())
        fields = ", ".join(f"`{field}`" for field in names)
        yield f"| `{name}` | `{module}` | {fields} | {first(kind)} |"


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
