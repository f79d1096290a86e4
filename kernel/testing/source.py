"""What can be read off an extension's files without running them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LONGEST_ENTRY, LONGEST_FILE = 150, 500
FORBIDDEN = {"pickle", "shelve", "dill", "cloudpickle", "marshal", "joblib"}
MAKERS = ("list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter")


def python_files(folder: Path) -> list[Path]:
    """Its own files, tests aside."""
    return [f for f in sorted(folder.rglob("*.py")) if not is_test(f)]


def is_test(file: Path) -> bool:
    return file.name.startswith("test_") or file.name == "conftest.py"


def imports(file: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found: set[str] = set()
    for level, module, names in _imported(file.read_text("utf-8")):
        if module is None:
            found |= {*names}
        elif not level and module:
            found.add(module)
            if module in ("kernel", "extensions"):
                found |= {f"{module}.{name}" for name in names}
    return found


@cache
def _imported(code: str) -> list[tuple[int, str | None, list[str]]]:
    """Its imports: leading dots, module (None for a plain import) and names.

    Kept, for every promise asks for those of all files: a third of the time of these checks.
    """
    return [
        (node.level, node.module or "", [alias.name for alias in node.names])
        if isinstance(node, ast.ImportFrom)
        else (0, None, [alias.name for alias in node.names])
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def own_imports(file: Path, folder: Path) -> Iterator[Path]:
    """The extension's own files that a file imports, by either kind of import."""
    here = f"extensions.{folder.name}."
    for level, module, names in _imported(file.read_text("utf-8")):
        if module is None:
            continue
        if level:
            names = [module] if module else names
            yield from (file.parent / (name.replace(".", "/") + ".py") for name in names)
        elif module.startswith(here):
            yield folder / (module.removeprefix(here).replace(".", "/") + ".py")


def worker_files(folder: Path) -> set[Path]:
    """worker.py and what it imports of its own extension: what runs in a child process."""
    todo, seen = [folder / "worker.py"], set[Path]()
    while todo:
        file = todo.pop()
        if file not in seen and file.is_file():
            seen.add(file)
            todo += own_imports(file, folder)
    return seen


def state_lines(file: Path) -> list[int]:
    """Lines that make state of a module: `global`, or a list, dict or set at its top level."""
    tree = ast.parse(file.read_text("utf-8"))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        name = target.id if isinstance(target, ast.Name) else ""
        made = isinstance(node.value, ast.List | ast.Dict | ast.Set) or (
            isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in MAKERS
        )
        if made and not (name.isupper() or name.strip("_").isupper() or name == "__all__"):
            lines.append(node.lineno)
    return lines


# --- templates --------------------------------------------------------------------------

COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
ID = re.compile(r"""\sid=(?:"([^"]*)"|'([^']*)')""")
SET = re.compile(r"\{%-?\s*set\s+(\w+)\s*=\s*[\"']([^\"']*)[\"']")
INLINE = {
    "an inline script": re.compile(r"<script(?![^>]*\bsrc=)", re.IGNORECASE),
    "a style element": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"<[^>{]*\sstyle\s*=", re.IGNORECASE),
    "an event attribute": re.compile(r"<[^>{]*\son[a-z]+\s*=", re.IGNORECASE),
    "hx-on": re.compile(r"\bhx-on\b", re.IGNORECASE),
}
"""What the page's content security policy refuses to run."""
SHARED = {"main", "toasts", "page-go", "page-theme", "page-assets"}
"""Ids of the page itself that any extension may push to."""


def inline_in(html: str) -> list[str]:
    """What stands in a template although the page would not run it."""
    html = COMMENT.sub("", html)
    return [what for what, pattern in INLINE.items() if pattern.search(html)]


def foreign_ids(html: str, id: str) -> list[str]:
    """Ids that neither are the extension's nor begin with it.

    One from a macro's argument is its caller's; a name that was `set` to a text counts as it.
    """
    html = COMMENT.sub("", html)
    names = dict(SET.findall(html))
    found: list[str] = []
    for double, single in ID.findall(html):
        text = double or single
        if variable := re.match(r"\{\{\s*(\w+)", text):
            text = names.get(variable.group(1), f"{id}-")
        if not text.startswith(f"{id}-") and text not in {id, *SHARED}:
            found.append(text)
    return found
