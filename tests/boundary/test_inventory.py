"""A13: every address has its row, with the access that was meant; a new one cannot be forgotten."""

import ast
import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route, Router, WebSocketRoute

from kernel.api import Routes
from kernel.testing import ROOT, App, running
from tests.boundary.places import Opaque, places, walk
from tests.boundary.tables import ROUTES

BUILT_IN = sorted(p.parent.name for p in (ROOT / "extensions").glob("*/extension.toml"))
ADD = "Add to ROUTES in tests/boundary/tables.py who may ask there: "


@pytest.fixture
async def app():
    async with running(*BUILT_IN) as app:
        yield app


async def test_a13_every_address_has_a_row_and_the_access_it_says(app: App):
    found = {f"{place.owner} {place.path}": place for place in places(app)}
    for name, place in found.items():
        assert name in ROUTES, f'{ADD}"{name}": "{place.access}"'
        if ROUTES[name] != "door":
            assert place.access == ROUTES[name], name
    assert not ROUTES.keys() - found.keys(), "These are gone: take their rows out."


def test_a13_who_may_ask_cannot_be_left_open():
    with pytest.raises(TypeError, match="access"):
        Routes(Router([]))  # type: ignore[call-arg]


def test_a13_the_kernel_answers_nowhere_else():
    """Addresses in the source of door and application are those of the table."""
    known = {name.split(" ")[1] for name in ROUTES if name.startswith("kernel ")}
    known |= {"/ext/", "/static/", "/ext", "/settings", "//", "/\\"}
    for file in ("app.py", "security.py"):
        for node in ast.walk(ast.parse((ROOT / "kernel" / file).read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                paths = re.fullmatch(r"/[\w/\\.-]*", node.value)
                assert not paths or node.value in known, f'{ADD}"kernel {node.value}" ({file})'


async def endpoint(request: Any) -> None:
    """Never called."""


def test_sub_routes_are_found():
    inner = [Route("/b", endpoint), WebSocketRoute("/c/{id}", endpoint)]
    app = Router([Route("/a", endpoint), Mount("/m", routes=inner), Mount("/f", app=Starlette())])
    assert [path for _, path in walk(app, "x")] == ["/a", "/m/b", "/m/c/{id}", "/f"]


def test_what_hides_its_addresses_is_told_how_to_show_them():
    with pytest.raises(Opaque, match=r"Contribute a kernel\.api\.Router"):
        list(walk(endpoint, "x"))
