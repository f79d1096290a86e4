"""Every event that an extension offers others is emitted when what it tells of happens."""

import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from extensions.conversations.api import STORE
from extensions.downloader.api import DOWNLOADS
from extensions.downloader.plan import Item, Plan
from kernel.testing import App, running
from tests.hub import Hub, Repo, serving
from tools import reference

LISTENER = """
from importlib import import_module

async def setup(ext):
    ext.seen = []
    for module, names in {offered}:
        for name in names:
            async def heard(event): ext.seen.append(event)
            ext.on(getattr(import_module(module), name))(heard)
"""
MANIFEST = """
id = "listener"
name = "Listener"
version = "1"
summary = "Tests."
api = 1
[requires]
extensions = {requires}
"""
FILES = {"characters/Ada.json": {"name": "Ada"}, "worlds/Sea.json": {"entries": {}}}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    repo = Repo("me/it")
    repo.commit({"config.json": "{}"})
    with serving(Hub(repo)) as hub:
        yield hub


def listener(root: Path, module: str) -> Path:
    """An extension that hears of what this one offers."""
    folder = root / "listener"
    folder.mkdir()
    offered = [(module, reference.OTHERS[module])]
    (folder / "__init__.py").write_text(LISTENER.format(offered=offered))
    requires = json.dumps([module.split(".")[1]])
    (folder / "extension.toml").write_text(MANIFEST.format(requires=requires))
    return folder


async def act(app: App, action: str, **values: Any) -> None:
    await app.page().act(action, **values)


async def pinned(app: App, _: Hub) -> None:
    [store] = app.kernel.registry.values(STORE)
    conversation = await store.create("Brass")
    await act(app, "conversations.pin", conversation=conversation.id)


async def restored(app: App, _: Hub) -> None:
    [store] = app.kernel.registry.values(STORE)
    await store.add_user("", "Hello")
    await act(app, "conversations.back_up")
    [backup] = await store.backups()
    await act(app, "conversations.restore", backup=backup.name)


async def erased(app: App, _: Hub) -> None:
    [store] = app.kernel.registry.values(STORE)
    conversation = await store.create("Brass")
    await store.delete(conversation.id)
    await act(app, "conversations.erase", id="")


async def made(app: App, _: Hub) -> None:
    await act(app, "characters.new", name="Bo")


async def renamed(app: App, _: Hub) -> None:
    await act(app, "characters.rename", id="Ada", to="Ada of Brass")


async def world_renamed(app: App, _: Hub) -> None:
    await act(app, "characters.rename_world", id="Sea", to="Ocean")


async def fetched(app: App, hub: Hub) -> None:
    commit, files = hub["me/it"].at("main") or ("", {})
    url = f"{hub.address}/me/it/resolve/{commit}"
    items = tuple(Item(f.path, f"{url}/{f.path}", f.size, f.sha256) for f in files.values())
    [downloads] = app.kernel.registry.values(DOWNLOADS)
    await downloads.start(Plan("me/it", "main", commit, "models", "me_it", items))


Story = tuple[str, Callable[[App, Hub], Coroutine[Any, Any, None]], Callable[[Any], bool]]
STORY: Mapping[str, Story] = {
    "LibraryChanged": ("characters", made, lambda e: True),
    "Renamed": ("characters", renamed, lambda e: (e.old, e.new) == ("Ada", "Ada of Brass")),
    "WorldRenamed": ("characters", world_renamed, lambda e: (e.old, e.new) == ("Sea", "Ocean")),
    "Rearranged": ("conversations", pinned, lambda e: bool(e.conversation)),
    "Restored": ("conversations", restored, lambda e: True),
    "Erased": ("conversations", erased, lambda e: True),
    "CastChanged": ("roleplay", made, lambda e: True),
    "CastRenamed": ("roleplay", renamed, lambda e: (e.old, e.new) == ("Ada", "Ada of Brass")),
    "Downloaded": ("downloader", fetched, lambda e: e.plan.repo == "me/it"),
    "DownloadMoved": ("downloader", fetched, lambda e: bool(e.id)),
}
"""Who emits each event, what brings it about, and what it then says."""


@pytest.mark.parametrize(
    ("module", "name"), [(m, name) for m, names in reference.OTHERS.items() for name in names]
)
async def test_it_reaches_who_listens(module: str, name: str, hub: Hub, tmp_path: Path):
    assert name in STORY, "an event that others hear needs a line in STORY"
    emits, bring_about, says = STORY[name]
    for file, content in FILES.items():
        (tmp_path / "data" / file).parent.mkdir(parents=True)
        (tmp_path / "data" / file).write_text(json.dumps(content))
    folder, data = listener(tmp_path, module), tmp_path / "data"
    async with running(emits, "chat", folder, data=data, python=Path(sys.executable)) as app:
        ext: Any = app.extension("listener")
        ext.seen.clear()
        await bring_about(app, hub)
        await app.until(lambda: any(type(e).__name__ == name and says(e) for e in ext.seen))


def test_nothing_is_told_of_that_is_not_offered():
    assert {*STORY} == {name for names in reference.OTHERS.values() for name in names}
