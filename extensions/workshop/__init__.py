"""Makes, checks, installs and updates extensions, and finds the one that causes trouble."""

from functools import partial
from typing import Annotated

from extensions.workshop.actions import (
    Answer,
    Begin,
    Dismiss,
    Fetch,
    Finish,
    Install,
    Remove,
    Rollback,
    Update,
)
from extensions.workshop.bisect import Bisect
from extensions.workshop.counter import Counter
from extensions.workshop.editing import Editing
from extensions.workshop.finding import Finding
from extensions.workshop.trees import FOREIGN
from extensions.workshop.views import Views
from kernel.api import (
    PANELS,
    ROUTES,
    Client,
    Everyone,
    Extension,
    Meta,
    Panel,
    Route,
    Router,
    Routes,
    SectionChanged,
    SettingsChanged,
    Started,
    Status,
    StatusChanged,
    Struct,
)

LOOK, EDITS = 1.0, 0.5
"""Seconds between two looks for folders that came or went, and for files that were saved."""
EDIT = "Restart an extension when a file of it is saved (for authors)."


class Settings(Struct, frozen=True):
    """The extension's settings."""

    edit_and_see: Annotated[bool, Meta(description=EDIT)] = False


async def setup(ext: Extension[Settings]) -> None:
    views = Views(ext)
    finding = Finding(ext.admin, ext.id)
    counter = views.counter = Counter(ext, finding, views.push)
    bisect = views.bisect = Bisect(ext.admin, ext.data / "bisect.json", views.push)
    editing = Editing(ext, finding)

    @ext.on(Fetch)
    async def fetch(action: Fetch, client: Client) -> None:
        counter.admit(client)
        counter.fetch(action.address)

    @ext.on(Install)
    async def install(action: Install, client: Client) -> None:
        counter.admit(client)
        counter.install(action.consent)

    @ext.on(Dismiss)
    async def dismiss(action: Dismiss, client: Client) -> None:
        counter.dismiss()

    @ext.on(Update)
    async def update(action: Update, client: Client) -> None:
        counter.admit(client)
        counter.update(action.id)

    @ext.on(Rollback)
    async def rollback(action: Rollback, client: Client) -> None:
        counter.admit(client)
        name = ext.admin.name(action.id)
        counter.change(f"Going back with {name}", partial(counter.installer.back, action.id))

    @ext.on(Remove)
    async def remove(action: Remove, client: Client) -> None:
        counter.admit(client)
        name = ext.admin.name(action.id)

        async def work() -> None:
            await counter.installer.remove(action.id, libraries=action.libraries)
            ext.tell(f"{name} is removed. Its settings and data stay.", Everyone())

        counter.change(f"Removing {name}", work)

    @ext.on(Begin)
    async def begin(action: Begin, client: Client) -> None:
        await bisect.begin()

    @ext.on(Answer)
    async def answer(action: Answer, client: Client) -> None:
        await bisect.answer(action.step, action.wrong)

    @ext.on(Finish)
    async def finish(action: Finish, client: Client) -> None:
        await bisect.finish(action.off)

    @ext.on(Started)
    async def started(event: Started) -> None:
        await bisect.resume()
        for folder in await ext.thread(views.foreign):
            ext.log.warning("%s is %s.", folder, FOREIGN)

    @ext.on(StatusChanged)
    async def status_changed(event: StatusChanged) -> None:
        if event.status in (Status.RUNNING, Status.FAILED):
            editing.started(event.id)
        views.push()

    @ext.on(SectionChanged)
    async def section_changed(event: SectionChanged) -> None:
        views.push()

    @ext.on(SettingsChanged)
    async def settings_changed(event: SettingsChanged) -> None:
        editing.heed()

    ext.add(PANELS, Panel("settings", "workshop.html", views.section, title="Install"))
    ext.add(PANELS, Panel("status", "status.html", views.status, order=-1))
    router = Router([Route("/ext/workshop/archive", counter.archive, methods=["POST"])])
    ext.add(ROUTES, Routes(router, access="admin"))
    ext.spawn(finding.watch(LOOK), "folders")
    ext.spawn(editing.watch(EDITS), "files")
