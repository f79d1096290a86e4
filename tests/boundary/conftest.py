"""The server that the attacks of a module share, and the addresses they are tried on."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kernel.acting import ACTIONS
from kernel.testing import ROOT, running
from tests.boundary.places import Place, places
from tests.boundary.served import CLASSES, Served, canaries, let_go, served
from tests.boundary.texts import fields

ESPEAK = "espeak-ng"
BUILT_IN = sorted(p.parent.name for p in (ROOT / "extensions").glob("*/extension.toml"))


@pytest.fixture(scope="session", autouse=True)
def a_voice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The program that one extension cannot start without: a mute one where there is none."""
    with pytest.MonkeyPatch.context() as patch:
        if not shutil.which(ESPEAK):
            program: Path = tmp_path_factory.mktemp("bin") / ESPEAK
            program.write_text("#!/bin/sh\ncat > /dev/null\n", "utf-8")
            program.chmod(0o755)
            patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(autouse=True)
def lets_go() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    let_go()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as server:
        server.until("state/models/described.msgpack")
        yield server


@pytest.fixture(scope="session")
def all_places(tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    """Every address of kernel, built-in extensions and canaries."""
    folder: Path = tmp_path_factory.mktemp("places")
    canaries(folder)

    async def look() -> list[Place]:
        ids = [*BUILT_IN, *(f"canary_{access}" for access in CLASSES)]
        async with running(*ids, folders=[folder / "extensions"]) as app:
            return places(app)

    return asyncio.run(look())


@pytest.fixture(scope="session")
def some_places(request: pytest.FixtureRequest, all_places: list[Place]) -> list[Place]:
    """With --long all of them; else one of each class and kind, built-in or not.

    The door knows no more, and without a browser all are asked, see test_requests.py. What takes
    uploads stays, for forms are tried on it."""
    if request.config.getoption("--long"):
        return all_places
    first: dict[object, Place] = {}
    for place in all_places:
        group = (place.owner.startswith("canary_"), place.access, place.kind)
        first.setdefault(place.path if "archive" in place.path else group, place)
    return [*first.values()]


@pytest.fixture
def pages(all_places: list[Place]) -> list[Place]:
    """What is asked by HTTP, but for what the door itself answers."""
    own = ("/login", "/logout")
    return [place for place in all_places if place.kind == "http" and place.path not in own]


@pytest.fixture
def sockets(all_places: list[Place]) -> list[Place]:
    return [place for place in all_places if place.kind == "websocket"]


@pytest.fixture(scope="session")
def action_fields() -> list[tuple[str, str, list[str]]]:
    """Every action's fields that hold text, with the fields that it cannot do without."""

    async def look() -> list[tuple[str, str, list[str]]]:
        async with running(*BUILT_IN) as app:
            kinds = {e.value.name: e.value.kind for e in app.kernel.registry.entries(ACTIONS)}
            return [
                (name, field, [f.name for f in msgspec.structs.fields(kind) if f.required])
                for name, kind in kinds.items()
                for field in fields(kind)
            ]

    return asyncio.run(look())
