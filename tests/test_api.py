"""The public surface: what extensions build on is only ever added to, documented and tested.

After a deliberate addition: python -m tests.test_api, and look at the difference.
"""

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel import api
from kernel.manager import Kernel
from kernel.points import Point
from kernel.scope import Scope

SNAPSHOT = Path(__file__).parent / "data" / "api.txt"
ROOT = Path(__file__).parent.parent
POINTS = {name: thing for name, thing in vars(api).items() if isinstance(thing, Point)}


def of_the_kernel() -> set[str]:
    """What the extensions that come along use of `ext.admin`, two names deep."""
    own = {
        *vars(Kernel),
        *re.findall(r"self\.([a-z]\w*)(?:: [^=]+)? = ", inspect.getsource(Kernel)),
    }
    used: set[str] = set()
    for file in (ROOT / "extensions").rglob("*.py"):
        if not file.name.startswith("test_"):
            text = file.read_text("utf-8")
            chains = re.findall(r"\b_?(?:kernel|admin)\.([a-z]\w*(?:\.[a-z]\w*)?)", text)
            used |= {f"Kernel.{each}" for each in chains if each.partition(".")[0] in own}
    return used


def surface() -> list[str]:
    """One line for each public name, and for each field and method of it."""
    lines = sorted(of_the_kernel())
    for name in sorted(api.__all__):
        thing: Any = getattr(api, name)
        lines.append(name)
        if inspect.isclass(thing) and issubclass(thing, msgspec.Struct):
            lines += [f"{name}.{field}" for field in thing.__struct_fields__]
        if inspect.isclass(thing) and thing.__module__.startswith("kernel."):
            own = vars(thing) | (vars(Scope) if issubclass(thing, Scope) else {})
            methods = inspect.getmembers(thing, callable)
            for method, function in methods:
                if not method.startswith("_") and method in own:
                    parameters = ", ".join(inspect.signature(function).parameters)
                    lines.append(f"{name}.{method}({parameters})")
    return lines


def test_nothing_was_taken_away():
    before = SNAPSHOT.read_text("utf-8").splitlines()
    now = surface()
    gone = [line for line in before if line not in now]
    assert gone == [], "extensions use these; a change needs a new API number"
    assert [line for line in now if line not in before] == [], "run python -m tests.test_api"


@pytest.mark.parametrize("name", sorted(POINTS))
def test_a_point_says_what_it_is_for_and_is_tested(name: str):
    assert POINTS[name].doc.endswith(".")
    files = [*(ROOT / "tests").glob("*.py"), *(ROOT / "extensions").glob("*/*.py")]
    users = [f for f in files if re.search(rf"\b{name}\b", f.read_text("utf-8"))]
    assert users, f"nothing uses {name}"


@pytest.mark.parametrize("name", sorted(set(api.__all__) - set(POINTS)))
def test_a_public_class_says_what_it_is_for(name: str):
    thing: Any = getattr(api, name)
    if inspect.isclass(thing) and thing.__module__.startswith("kernel."):
        assert (thing.__doc__ or "").strip(), f"{name} has no docstring"


def test_what_crosses_is_frozen():
    for name in api.__all__:
        thing: Any = getattr(api, name)
        if inspect.isclass(thing) and issubclass(thing, msgspec.Struct):
            assert thing.__struct_config__.frozen, name


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(surface()) + "\n", "utf-8")
