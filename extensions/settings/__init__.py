"""The Settings tab: a card for every extension, the look of the page, keys, about."""

from collections.abc import Mapping
from typing import Any

from extensions.settings.actions import Appearance, Configure, Move, Reset, Retry, Run, Toggle
from extensions.settings.builds import choosing
from extensions.settings.cards import about, access, card, cards, look, other_problems, problems_of
from extensions.settings.sections import Sections
from kernel.api import (
    PANELS,
    Changed,
    Client,
    Everyone,
    Extension,
    Failure,
    Panel,
    Refused,
    SectionChanged,
    StatusChanged,
)

ICON = (
    "M12 9a3 3 0 1 0 0 6 3 3 0 1 0 0-6M12 3v3M12 18v3M3 12h3M18 12h3"
    "M5.6 5.6l2.1 2.1M16.3 16.3l2.1 2.1M18.4 5.6l-2.1 2.1M7.7 16.3l-2.1 2.1"
)


async def setup(ext: Extension[Any]) -> None:
    kernel, sections = ext.admin, Sections(ext)
    shown = kernel.ordered()

    def known(id: str) -> str:
        if id not in kernel.records:
            raise Refused(f"There is no extension {id!r} any more. Reload the page.")
        return id

    def push_card(id: str, errors: Mapping[str, str] | None = None) -> None:
        if not kernel.hub.clients:  # Nobody to draw it for, as at the start.
            return
        index = kernel.ordered().index(id)
        html = ext.render(
            "_card.html", oob=True, card=card(kernel, kernel.records[id], index, errors or {})
        )
        ext.push_html(html, Everyone(), f"card-{id}")

    def push_cards() -> None:
        nonlocal shown
        shown = kernel.ordered()
        ext.push_html(ext.render("_cards.html", oob=True, cards=cards(kernel)), Everyone(), "cards")

    @ext.on(Toggle)
    async def toggle(action: Toggle, client: Client) -> None:
        if known(action.id) == ext.id:
            raise Refused(
                "Settings stays on: it is the way to the others. "
                "Write `enabled: false` into settings.yaml to run without it."
            )
        await kernel.changes.toggle(action.id, action.on)
        push_card(action.id)

    @ext.on(Configure)
    async def configure(action: Configure, client: Client) -> None:
        values = action.changed()
        for name in problems_of(kernel, known(action.id)).keys() & action.rest.keys():
            values[name] = action.rest[name]  # what the form shows replaces what the file says
        push_card(action.id, await kernel.changes.configure(action.id, values))

    @ext.on(Reset)
    async def reset(action: Reset, client: Client) -> None:
        errors = await kernel.changes.configure(known(action.id), {action.field: None})
        push_card(action.id, errors)

    choosing(ext, known, push_card)

    @ext.on(Move)
    async def move(action: Move, client: Client) -> None:
        order = [id for id in kernel.ordered() if id != known(action.id)]
        order.insert(max(0, action.to), action.id)
        await kernel.changes.reorder(order)
        push_cards()
        place, name = order.index(action.id) + 1, kernel.name(action.id)
        moved = {"name": name, "place": place, "count": len(order)}
        await ext.push("_moved.html", client, **moved)

    @ext.on(Retry)
    async def retry(action: Retry, client: Client) -> None:
        kernel.trouble.pop(known(action.id), None)
        await kernel.start(action.id)
        push_card(action.id)

    @ext.on(Run)
    async def run(action: Run, client: Client) -> None:
        if not kernel.safe or known(action.id) == ext.id:
            raise Refused("Spindle is not in safe mode. Use the switch.")
        await kernel.changes.run(action.id, action.on)
        push_card(action.id)

    @ext.on(Appearance)
    async def appearance(action: Appearance, client: Client) -> None:
        await kernel.changes.section("appearance", {"theme": action.theme})

    @ext.on(SectionChanged)
    async def section_changed(event: SectionChanged) -> None:
        if event.name == "appearance":
            await ext.push("_appearance.html", oob=True, **look(kernel))
            tag = '<span id="page-theme" hidden data-theme="{}" hx-swap-oob="true"></span>'
            ext.push_html(tag.format(kernel.theme.replace("system", "")), Everyone(), "theme")
        elif event.name == "order":
            if kernel.ordered() != shown:  # A first change gives an extension a section, no place.
                push_cards()
        elif (id := event.name.removeprefix("extensions.")) in kernel.records:
            push_card(id)
        await ext.push("_problems.html", key="problems", oob=True, problems=other_problems(kernel))

    @ext.on(StatusChanged)
    async def status_changed(event: StatusChanged) -> None:
        if event.id in kernel.records:  # one that was removed is told of, too
            push_card(event.id)
        await sections.follow()

    @ext.on(Changed(PANELS))
    async def changed(event: Changed) -> None:
        await sections.follow()

    @ext.on(Failure)
    async def failed(event: Failure) -> None:
        if event.owner in kernel.records:
            push_card(event.owner)

    async def context(client: Client | None, subject: str) -> Mapping[str, Any]:
        section, _, subject = subject.partition("/")
        return {
            "section": section or "extensions",
            "here": f"/settings/{section}".rstrip("/"),
            "html": await sections.html(client, section, subject) if section else "",
            "sections": sections.now(),
            "missing": sections.missing(section),
            "cards": cards(kernel),
            "problems": other_problems(kernel),
            **look(kernel),
            "access": access(kernel),
            "about": about(kernel),
        }

    async def commands(client: Client | None, subject: str) -> Mapping[str, Any]:
        return {"tabs": sections.tabs(), "sections": sections.now(), "theme": kernel.theme}

    ext.add(PANELS, Panel("command", "command.html", commands, order=20, title="Pages and theme"))
    ext.add(PANELS, Panel("tab", "panel.html", context, order=100, title="Settings", icon=ICON))
