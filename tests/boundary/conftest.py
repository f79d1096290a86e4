"""The server that the attacks of a module share, and the addresses they are tried on."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.testing import ROOT, running
from tests.boundary.places import Place, places
from tests.boundary.served import CLASSES, Served, canaries, served

BUILT_IN = sorted(p.parent.name for p in (ROOT / "extensions").glob("*/extension.toml"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as server:
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


@pytest.fixture
def pages(all_places: list[Place]) -> list[Place]:
    """What is asked by HTTP, but for what the door itself answers."""
    own = ("/login", "/logout")
    return [place for place in all_places if place.kind == "http" and place.path not in own]


@pytest.fixture
def sockets(all_places: list[Place]) -> list[Place]:
    return [place for place in all_places if place.kind == "websocket"]
