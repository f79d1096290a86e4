"""The suite that every extension must pass, one function for each promise; needs no pytest.

`await examine(folder)` runs it all; `kernel.testing.plugin` makes tests of it.
"""

import ast
import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from kernel.forms import fields
from kernel.manifest import API, Manifest
from kernel.records import Status
from kernel.testing.leaks import open_things
from kernel.testing.running import running
from kernel.testing.source import (
    FORBIDDEN,
    LONGEST_ENTRY,
    LONGEST_FILE,
    foreign_ids,
    imports,
    inline_in,
    is_test,
    python_files,
    state_lines,
    worker_files,
)

CYCLES = 100
"""How often an extension is started and stopped."""

Check = Callable[[Path], Coroutine[Any, Any, None] | None]


class Nonconforming(AssertionError):
    """An extension breaks a promise: a sentence for its author, with what to do."""


async def examine(folder: Path) -> dict[str, str]:
    """Run every check; the sentences of those that found something, by the check's name."""
    found: dict[str, str] = {}
    for name in CHECKS:
        try:
            await keeps(folder, name)
        except AssertionError as problem:
            found[name] = str(problem)
    return found


async def keeps(folder: Path, promise: str) -> None:
    """Run the check of that name; raises Nonconforming."""
    if coroutine := CHECKS[promise](folder):
        await coroutine


# --- what it says of itself -------------------------------------------------------------


def manifest(folder: Path) -> None:
    """Its extension.toml can be read, was made for this API and sums it up in a sentence."""
    read = _manifest(folder)
    _expect(read.api == API, f"api = {read.api} in extension.toml; this is API {API}. Write that.")
    _expect(
        read.summary.endswith(".") and "\n" not in read.summary,
        "The summary in extension.toml must be one sentence. End it with a full stop.",
    )


def readme(folder: Path) -> None:
    """It has a README.md that begins with a heading."""
    file = folder / "README.md"
    text = file.read_text("utf-8") if file.is_file() else ""
    _expect(text.startswith("# "), "README.md must begin with “# Name”. Write what it is for.")


def docstrings(folder: Path) -> None:
    """Every file says in its docstring what it is for."""
    for file in python_files(folder):
        said = ast.get_docstring(ast.parse(file.read_text("utf-8")))
        _expect(bool(said), f"{file.name} has no docstring. Say in a sentence what it is for.")


async def settings(folder: Path) -> None:
    """Each setting has a type that a form can show, a default (else nothing starts), bounds and a
    description."""
    id = _manifest(folder).id
    async with running(*_with_needs(folder), folders=[folder.parent]) as app:
        kind = app.kernel.records[id].kind
    for field in fields(kind):
        at = f"The setting {field.name}"
        _expect(field.help.endswith("."), f'{at} has no sentence. Add Meta(description="….").')
        _expect(field.wants != "something else", f"{at} is of a type that no form can show.")
        bounded = field.low is not None and field.high is not None
        numeric = field.kind in ("number", "range")
        _expect(bounded or not numeric, f"{at} has no bounds. Add Meta(ge=…, le=…).")


# --- how it lives -----------------------------------------------------------------------


async def starts_and_stops(folder: Path) -> None:
    """It starts and stops a hundred times and leaves nothing."""
    id = _manifest(folder).id
    async with running(folders=[folder.parent]) as app:
        kernel = app.kernel
        kernel.only = set(_with_needs(folder))
        _expect(await kernel.start(id), f"{id} did not start: {kernel.records[id].reason}")
        await kernel.stop(id)
        before = left = open_things()
        for _ in range(CYCLES):
            _expect(await kernel.start(id), f"{id} did not start again. Undo what setup did.")
            await kernel.stop(id)
            _expect(kernel.records[id].is_(Status.OFF), f"{id} did not stop in time.")
        for _ in range(100):  # A closed transport is gone a few turns later.
            if not (left := open_things() - before):
                break
            await asyncio.sleep(0.01)
        things = ", ".join(sorted(map(str, left)))
        _expect(not left, f"After {CYCLES} starts it left {things}. Own it through ext.enter.")
        owned = ", ".join(kernel.registry.owned_by(id))
        _expect(not owned, f"It left contributions to {owned}. Make them with ext.add or ext.on.")
        modules = ", ".join(m for m in [*sys.modules] if _is_of(m, id))
        _expect(not modules, f"It left the modules {modules}. Import with “from .x import y”.")


async def never_imported_when_off(folder: Path) -> None:
    """Not a line of it runs while it is off."""
    id = _manifest(folder).id
    async with running(folders=[folder.parent]) as app:
        _expect(app.kernel.records[id].is_(Status.OFF), f"{id} runs although it is off.")
        modules = ", ".join(m for m in [*sys.modules] if _is_of(m, id))
        _expect(not modules, f"{modules} was imported while the extension is off.")


# --- what it is made of -----------------------------------------------------------------


def public_api_only(folder: Path) -> None:
    """It imports kernel.api, the api.py of what it requires, and its own; a worker kernel.contract.

    A worker may ask kernel.worker_host for code by name, as a request's processors are given.
    Its tests may import kernel.testing too.
    """
    read, workers = _manifest(folder), worker_files(folder)
    public = {f"extensions.{need}.api" for need in read.requires.extensions}
    for file in sorted(folder.rglob("*.py")):
        foreign = {
            module
            for module in imports(file)
            if module.split(".")[0] in ("kernel", "extensions") and not _is_of(module, read.id)
        }
        allowed = {*public, "kernel.contract"}
        allowed.add("kernel.worker_host" if file in workers else "kernel.api")
        if is_test(file):
            foreign -= {module for module in foreign if _is_of(module, "testing", "kernel")}
        more = ", ".join(sorted(foreign - allowed))
        which = "kernel.contract" if file in workers else "kernel.api"
        _expect(not more, f"{file.name} imports {more}. Use {which}; extension.toml says more.")


def small_files(folder: Path) -> None:
    """Its __init__.py is a table of contents, and no file is a store of everything."""
    for file in python_files(folder):
        lines = len(file.read_text("utf-8").splitlines())
        most = LONGEST_ENTRY if file == folder / "__init__.py" else LONGEST_FILE
        _expect(lines <= most, f"{file.name} has {lines} lines; at most {most}. Split it.")


def no_pickles(folder: Path) -> None:
    """Nothing is ever unpickled: it would run whatever the data says."""
    for file in python_files(folder):
        found = ", ".join(sorted({m.split(".")[0] for m in imports(file)} & FORBIDDEN))
        _expect(not found, f"{file.name} imports {found}. Use msgspec, JSON or safetensors.")


def no_module_state(folder: Path) -> None:
    """No module holds state: it would outlive the extension. CONSTANTS that stay so are none."""
    for file in python_files(folder):
        lines = sorted({*state_lines(file), *changing_lines(file)})
        at = ", ".join(map(str, lines))
        _expect(not lines, f"{file.name}, line {at}: state of a module. Keep it in setup.")


def templates(folder: Path) -> None:
    """Ids in templates begin with the extension's; nothing is inline that the page refuses."""
    id = _manifest(folder).id
    for file in sorted((folder / "templates").rglob("*.html")):
        html = file.read_text("utf-8")
        inline = ", ".join(inline_in(html))
        _expect(not inline, f"{file.name} has {inline}. Put it into static/{id}.css or .js.")
        ids = ", ".join(foreign_ids(html, id))
        _expect(not ids, f"{file.name} has the id {ids}. Begin it with “{id}-”.")


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        manifest, readme, docstrings, settings, starts_and_stops, never_imported_when_off,
        public_api_only, small_files, no_pickles, no_module_state, templates,
    )
}  # fmt: skip
"""Every check by its name."""


# --- inside -----------------------------------------------------------------------------

CHANGING = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "remove", "reverse", "setdefault", "sort", "update",
}  # fmt: skip
"""Methods that change what they are called on."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def changing_lines(file: Path) -> list[int]:
    """Lines of functions that change what stands at a module's top level, whatever it is called,
    and functions that keep all that they were ever asked (`@cache` with arguments)."""
    tree = ast.parse(file.read_text("utf-8"))
    targets = [
        target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    held = {target.id for target in targets if isinstance(target, ast.Name)}
    lines: set[int] = set()
    for function in _functions(tree):
        inside = [*ast.walk(function)]
        own = {node.id for node in inside if isinstance(node, ast.Name) and _is_set(node)}
        own |= {node.arg for node in inside if isinstance(node, ast.arg)}
        lines |= {node.lineno for node in inside if _changes(node, held - own)}
        if isinstance(function, FUNCTIONS[:2]) and any(map(_endless, function.decorator_list)):
            lines |= {function.lineno} if [*ast.iter_child_nodes(function.args)] else set()
    return sorted(lines)


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda]:
    """Those that lie in no other one."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield child
        else:
            yield from _functions(child)


def _is_set(node: ast.Name | ast.Subscript | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def _changes(node: ast.AST, held: set[str]) -> TypeGuard[ast.expr]:
    """Whether it sets a part of one of these, deletes it, or calls what does so."""
    changed = None
    if isinstance(node, ast.Subscript | ast.Attribute) and _is_set(node):
        changed = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        changed = node.func.value if node.func.attr in CHANGING else None
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "next":
        changed = node.args[0] if node.args else None
    return isinstance(changed, ast.Name) and changed.id in held


def _endless(decorator: ast.expr) -> bool:
    """Whether it is @cache, or @lru_cache without a bound."""
    said = ast.unparse(decorator).removeprefix("functools.")
    return said in ("cache", "lru_cache(None)", "lru_cache(maxsize=None)")


def _expect(true: bool, sentence: str) -> None:
    if not true:
        raise Nonconforming(sentence)


def _manifest(folder: Path) -> Manifest:
    try:
        return Manifest.read(folder)
    except ValueError as error:
        raise Nonconforming(str(error)) from None


def _with_needs(folder: Path) -> tuple[str, ...]:
    """It, after what it requires, and what that requires."""
    read = _manifest(folder)
    places = (folder.parent, Path(__file__).parents[2] / "extensions")
    needs = (place / need for need in read.requires.extensions for place in places)
    more = (id for each in needs if (each / "extension.toml").is_file() for id in _with_needs(each))
    return (*dict.fromkeys((*more, *read.requires.extensions, read.id)),)


def _is_of(module: str, id: str, package: str = "extensions") -> bool:
    return (module + ".").startswith(f"{package}.{id}.")
