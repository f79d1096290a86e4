"""docs/reference.md and docs/map.md say what the sources say; what authors use is tested."""

import ast
import asyncio
import re
from pathlib import Path
from typing import get_args

import pytest

from extensions.settings.api import WORDS
from kernel import api
from kernel.pages import Region
from kernel.testing import running
from tools import map as plan
from tools import reference

ROOT = Path(__file__).parent.parent
TESTS = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "extensions").glob("*/test_*.py")]
PYTHON = [*(ROOT / "kernel").glob("*.py"), *(ROOT / "extensions").glob("*/*.py")]
TESTED = "\n".join(file.read_text("utf-8") for file in TESTS if file.name != "test_reference.py")
USED = TESTED + "\n".join(file.read_text("utf-8") for file in PYTHON)


def test_it_is_current():
    said = reference.FILE.read_text("utf-8")
    assert said == reference.text(), "run python -m tools.reference"


def test_the_map_is_current_and_every_module_of_the_kernel_has_one_place():
    assert plan.FILE.read_text("utf-8") == plan.text(), "run python -m tools.map"
    named = [name for _, modules in plan.KERNEL.values() for name in modules]
    there = [file.stem for file in (ROOT / "kernel").glob("*.py")]
    assert sorted(named) == sorted(there), "give it a place in tools/map.py"


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, n, _ in reference.all_points()])
def test_a_point_is_described_and_tested(module: str, name: str):
    point = next(p for m, n, p in reference.all_points() if (m, n) == (module, name))
    assert point.doc.endswith("."), f"{name} needs a sentence in {module}"
    assert re.search(rf"\b{name}\b", TESTED), f"no test uses {name}"


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, n, _ in reference.all_events()])
def test_an_event_is_described_and_tested(module: str, name: str):
    kind = next(k for m, n, k in reference.all_events() if (m, n) == (module, name))
    assert (kind.__doc__ or "").strip().split("\n\n")[0].endswith(".")
    assert re.search(rf"\b{name}\b", TESTED), f"no test uses {name}"


def test_every_event_of_the_kernel_is_listed():
    emitted: set[str] = set()
    for file in (ROOT / "kernel").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
                "emit",
                "_emit",
                "_changed",
            ):
                emitted |= {
                    argument.func.id
                    for argument in node.args
                    if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name)
                }
    assert emitted >= {"StatusChanged", "Connected", "Changed"}
    assert emitted <= set(reference.EVENTS), "add it to EVENTS in tools/reference.py"


def emitted(file: Path) -> set[tuple[str, str]]:
    """What an extension's file emits: where it has that from, a package, and the name."""
    code, own = file.read_text("utf-8"), f"extensions.{file.parent.name}"
    tree = ast.parse(code if "emit(" in code else "")
    homes = {
        alias.name: own if node.level else (node.module or "").removesuffix(".api")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {
        (homes.get(event.func.id, own), event.func.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "emit"
        for event in node.args
        if isinstance(event, ast.Call) and isinstance(event.func, ast.Name)
    }


def offers(home: str, name: str) -> bool:
    """Whether others may have it from that extension's api.py."""
    file = ROOT / home.replace(".", "/") / "api.py"
    return home != "kernel" and file.exists() and f'"{name}"' in file.read_text("utf-8")


def test_every_event_that_extensions_offer_is_listed():
    """What one emits that is in no api.py is its own affair."""
    files = [f for f in (ROOT / "extensions").rglob("*.py") if not f.name.startswith("test_")]
    found = {
        (f"{home}.api", name) for f in files for home, name in emitted(f) if offers(home, name)
    }
    assert found == {(module, name) for module, names in reference.OTHERS.items() for name in names}


def settings() -> list[tuple[str, str]]:
    """Each setting of each extension: the extension and its name."""

    async def read() -> list[tuple[str, str]]:
        ids = sorted(file.parent.name for file in (ROOT / "extensions").glob("*/extension.toml"))
        async with running(*ids) as app:
            kinds = {id: app.kernel.records[id].kind for id in ids}
        return [(id, each.name) for id, kind in kinds.items() for each in api.fields(kind)]

    return asyncio.run(read())


def test_each_setting_is_set_somewhere_in_the_tests():
    """Its name is used in the extension's tests, or in others close behind the extension's."""
    untested, all_ = list[str](), settings()
    for id, name in all_:
        files = (ROOT / "extensions" / id).rglob("test_*.py")
        own = "\n".join(file.read_text("utf-8") for file in files)
        if not (
            re.search(rf"""\b{name}=|["'.]{name}\b|^\s*{name}:""", own, re.MULTILINE)
            or re.search(rf"\b{id}\b[^)}}]{{0,200}}\b{name}\b", TESTED)
        ):
            untested.append(f"{name} of {id}")
    assert len(all_) > 40
    assert not untested, "write a test of what it does"


@pytest.mark.parametrize("region", get_args(Region))
def test_a_region_is_described_and_used(region: str):
    assert reference.REGIONS[region].endswith(".")
    assert re.search(rf"""Panel\(\s*["']{region}["']""", USED), f"nothing stands in {region}"


@pytest.mark.parametrize("name", reference.css_variables())
def test_a_variable_is_described_and_used(name: str):
    assert reference.VARIABLES.get(name), f"say in tools/reference.py what --{name} is for"
    styles = [*(ROOT / "static").glob("*.css"), *(ROOT / "extensions").glob("*/static/*.css")]
    assert any(f"var(--{name})" in file.read_text("utf-8") for file in styles), "nothing uses it"


@pytest.mark.parametrize("name", reference.template_blocks())
def test_a_block_is_described_and_used(name: str):
    assert reference.BLOCKS.get(name, "").endswith("."), f"say in tools/reference.py what {name} is"
    block = name.partition(" ")[2]
    templates = [
        *(ROOT / "templates").glob("*.html"),
        *(ROOT / "extensions").glob("*/templates/*.html"),
    ]
    uses = [len(re.findall(rf"\b{block}\b", file.read_text("utf-8"))) for file in templates]
    assert sum(uses) > 1, "nothing uses it"


def test_nothing_is_described_that_is_not_there():
    assert set(reference.REGIONS) == set(get_args(Region))
    assert set(reference.VARIABLES) == set(reference.css_variables())
    assert set(reference.BLOCKS) == set(reference.template_blocks())
    assert set(reference.MANIFEST) == set(reference.manifest_keys())


@pytest.mark.parametrize("permission", sorted(WORDS))
def test_a_permission_that_has_words_is_described(permission: str):
    assert permission in {*reference.PERMISSIONS, "process", "processes"}


@pytest.mark.parametrize("name", reference.DATA)
def test_what_modifiers_handle_is_described(name: str):
    assert reference.first(getattr(api, name)).endswith("."), f"{name} needs a sentence"


def test_every_verb_of_the_handle_has_its_sentence():
    for name, method in vars(api.Extension).items():
        if callable(method) and not name.startswith("_"):
            assert method.__doc__, f"ext.{name} has no docstring"
