"""Chooses how replies are made: sampling parameters, presets, grammars, bans and biases."""

from pathlib import Path
from random import Random
from typing import Any

from kernel.api import (
    INPUT,
    OUTPUT,
    PANELS,
    REQUEST,
    ROUTES,
    SAMPLERS,
    Changed,
    Client,
    Disconnected,
    Extension,
    Panel,
    Phase,
    Refused,
    Route,
    Router,
    Routes,
    SlotChanged,
    Turn,
)

from . import actions as a
from .api import PARAMETERS, STANDARDS, Parameters
from .asking import Asking
from .choices import Choices
from .files import Files
from .grammars import Grammars
from .pace import Pace
from .pages import Pages
from .seeds import Seeds
from .shelf import Shelf
from .state import Keeper
from .views import Views

ICON = "M4 7h9M17 7h3M4 12h3M11 12h9M4 17h7M15 17h5M15 5v4M9 10v4M13 15v4"


async def setup(ext: Extension[Any]) -> None:
    here, root = Path(__file__).parent, ext.data_root
    keeper = Keeper(ext.data / "parameters.json")
    await ext.thread(keeper.load)
    presets = Shelf(
        "preset", here / "presets", root / "presets", root / "trash" / "presets", (".yaml", ".yml")
    )
    gbnf = Shelf(
        "grammar", here / "grammars", root / "grammars", root / "trash" / "grammars", (".gbnf",)
    )
    choices, grammars = Choices(ext, keeper, presets), Grammars(ext, keeper, gbnf)
    choices.beside = lambda: ext.get(STANDARDS)
    pages = Pages(ext, choices, grammars, Views(ext, choices))
    asking, files = Asking(ext, choices), Files(ext, choices, grammars, pages)
    await choices.remember()

    async def told() -> None:
        asking.forget()
        await pages.tell()

    async def changed(client: Client, name: str, work: Any) -> None:
        """Carry a change out and show it everywhere; what is wrong is shown where it was typed."""
        try:
            await work
        except Refused as error:
            return await pages.tell_wrong(name, str(error), client)
        pages.right(name, client)
        await told()

    async def renewed(work: Any) -> None:
        await work
        pages.renewed()
        await told()

    async def met() -> None:
        if await pages.meet():
            await told()
            pages.tell_grammar()

    @ext.on(INPUT, phase=Phase.EARLY)
    async def fill(turn: Turn) -> Turn:
        if not turn.client:
            return turn
        await met()  # Who writes at once has the preset of the model that has just come.
        return asking.fill(turn)

    ext.on(REQUEST, phase=Phase.EARLY)(asking.fit)
    pace = Pace(asking.said)
    ext.on(REQUEST, phase=Phase.LATE)(pace.leave_out)
    ext.on(REQUEST, phase=Phase.LATE)(Seeds(ext).draw)
    ext.on(OUTPUT, phase=Phase.LATE)(pace.hold)
    ext.on(a.Set)(lambda it, client: changed(client, it.name, choices.set(it.name, it.value)))
    ext.on(a.Reset)(lambda it, client: changed(client, it.name, choices.reset(it.name)))
    ext.on(a.Move)(
        lambda it, client: changed(client, "sampler_priority", choices.move(it.id, it.to))
    )
    ext.on(a.Show)(lambda it, client: pages.filter(client, it.loader))
    ext.on(a.Save)(files.save)
    ext.on(a.Keep)(files.keep)
    ext.on(a.Bring)(files.bring)
    ext.on(a.Delete)(files.delete)
    ext.on(a.Undelete)(files.undelete)
    ext.on(a.Empty)(lambda _, client: files.empty())
    ext.on(a.Ban)(lambda it, client: changed(client, "", choices.ban(it.line)))
    ext.on(a.Neutralise)(lambda _, client: renewed(choices.neutralise()))
    ext.on(a.Roll)(lambda _, client: renewed(choices.roll(Random())))
    ext.on(a.Choose)(lambda it, client: renewed(choices.choose(it.preset)))

    @ext.on(a.Prefer)
    async def prefer(action: a.Prefer, client: Client) -> None:
        info = choices.info
        if action.model and not info:
            raise Refused("No model is loaded by now. Load it, then choose its preset.")
        await choices.prefer(info.name if info and action.model else "", action.preset)
        await pages.tell()

    @ext.on(a.Open)
    async def open_grammar(action: a.Open, client: Client) -> None:
        await pages.tell_checked(await grammars.open(action.name), client)

    @ext.on(a.Constrain)
    async def constrain(action: a.Constrain, client: Client) -> None:
        problems = await grammars.use(action.by, action.grammar, action.schema)
        asking.forget()
        await pages.tell_checked(problems, client, action)

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        if event.slot == ext.slot().name:
            await met()

    @ext.on(Changed(SAMPLERS))
    async def contributed(event: Changed) -> None:
        await pages.tell()

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        pages.left(event.client)

    ext.add(PARAMETERS, Parameters(choices, told))
    ext.add(ROUTES, Routes(Router([Route("/ext/parameters/{what}/{file}", files.serve)]), "page"))
    ext.add(PANELS, Panel("tab", "panel.html", pages.panel, 20, title="Parameters", icon=ICON))
    ext.add(PANELS, Panel("composer", "pill.html", pages.quick, -10))
    ext.add(PANELS, Panel("status", "pop.html", pages.quick, 90))
