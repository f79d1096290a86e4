"""Downloads as people handle them: begun, paused, in turn, and over the end of the server."""

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from extensions.downloader.api import DOWNLOADS, Downloads
from extensions.downloader.plan import Item, Plan
from kernel.testing import App, running
from tests.hub import Hub, Made, Repo, serving

SIZE = 8_000_000


@pytest.fixture(scope="module")
def shared() -> Iterator[Hub]:
    with serving(Hub()) as hub:
        yield hub


@pytest.fixture
def hub(shared: Hub) -> Hub:
    """Everything new but the ports."""
    shared.repos, shared.faults, shared.asked = {}, [], []
    for name in ("one", "two", "three"):
        shared.add(Repo(f"me/{name}")).commit({"config.json": "{}", f"{name}.gguf": Made(SIZE)})
    return shared


def plan_of(hub: Hub, name: str, folder: str = "") -> Plan:
    commit, files = hub[f"me/{name}"].at("main") or ("", {})
    url = f"{hub.address}/me/{name}/resolve/{commit}"
    items = tuple(Item(f.path, f"{url}/{f.path}", f.size, f.sha256) for f in files.values())
    return Plan(f"me/{name}", "main", commit, "models", folder or f"me_{name}", items)


@asynccontextmanager
async def downloading(
    hub: Hub, data: Path, **settings: object
) -> AsyncGenerator[tuple[App, Downloads]]:
    """The extension, its worker running in the tests' own Python."""
    async with running(
        "downloader", data=data, settings={"downloader": settings}, python=Path(sys.executable)
    ) as app:
        [downloads] = app.kernel.registry.values(DOWNLOADS)
        yield app, downloads


async def test_from_nothing_to_a_model(hub: Hub, tmp_path: Path):
    async with downloading(hub, tmp_path) as (app, downloads):
        entry = await downloads.start(plan_of(hub, "one"))
        await app.until(lambda: entry.state == "done")
        models = app.extension("downloader").models
        assert (models / "me_one" / "one.gguf").stat().st_size == SIZE
        assert not list((tmp_path / "state" / "downloader" / "downloads").iterdir())
