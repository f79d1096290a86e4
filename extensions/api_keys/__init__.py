"""Makes and revokes keys for programs, and lets pages of other sites in that come with one."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from kernel.api import (
    PANELS,
    Action,
    Client,
    Disconnected,
    Everyone,
    Extension,
    Meta,
    Panel,
    SectionChanged,
)

from .api import KEYS
from .listing import rows
from .register import Register
from .sites import Sites

EVERY = 60.0
"""Seconds after which it is written down when keys were used."""
Name = Annotated[str, Meta(max_length=60)]
Limit = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class Make(Action, frozen=True):
    """Make a key and show its words to who asked."""

    name: Name = ""
    scope: Literal["generate", "admin"] = "generate"
    at_once: Limit = 0
    tokens: Limit = 0


class PutAway(Action, frozen=True):
    """The words of the new key are copied."""


class Change(Action, frozen=True):
    """Another name or other limits."""

    id: str
    name: Name = ""
    at_once: Limit = 0
    tokens: Limit = 0


class Revoke(Action, frozen=True):
    """A key counts no more."""

    id: str


class BringBack(Action, frozen=True):
    """It was revoked by mistake."""

    id: str


class Admit(Action, frozen=True):
    """Who may ask without a key, and which sites."""

    require_key: bool = False
    origins: Annotated[str, Meta(max_length=10_000)] = ""


async def setup(ext: Extension[Any]) -> None:
    register, sites = Register(ext), Sites(ext)
    shown = dict[Client, tuple[str, str]]()  # The words of a new key, and its id, by who made it.

    async def tell() -> None:
        await ext.push("_keys.html", Everyone(), "keys", oob=True, keys=rows(register.keys()))

    @ext.on(Make)
    async def make(action: Make, client: Client) -> None:
        name = " ".join(action.name.split())
        made = await register.make(name, action.scope, action.at_once, action.tokens)
        shown[client] = made
        await ext.push("_new.html", client, oob=True, name=name, words=made[0])
        await tell()

    @ext.on(PutAway)
    async def put_away(_: PutAway, client: Client) -> None:
        shown.pop(client, None)
        await ext.push("_new.html", client, oob=True, name="", words="")

    @ext.on(Change)
    async def change(action: Change, client: Client) -> None:
        name = " ".join(action.name.split())
        await register.change(action.id, name, action.at_once, action.tokens)
        await tell()

    @ext.on(Revoke)
    async def revoke(action: Revoke, client: Client) -> None:
        try:
            key = await register.revoke(action.id)
        finally:
            for page in [page for page, (_, id) in shown.items() if id == action.id]:
                del shown[page]
                await ext.push("_new.html", page, oob=True, name="", words="")
            await tell()
        text = f"“{key.name}” was revoked. What it had open is closed."
        button = {"label": "Undo", "vals": {"action": "api_keys.bring_back", "id": key.id}}
        notice = {"id": f"api_keys-{key.id}", "text": text, "kind": "note", "button": button}
        await ext.push("_undo.html", client, **notice)

    @ext.on(BringBack)
    async def bring_back(action: BringBack, client: Client) -> None:
        await register.bring_back(action.id)
        await tell()

    @ext.on(Admit)
    async def admit(action: Admit, client: Client) -> None:
        await sites.admit(action.require_key, action.origins)

    @ext.on(SectionChanged)
    async def section_changed(event: SectionChanged) -> None:
        if event.name == "api":
            sites.cut_off()
            await ext.push("_sites.html", Everyone(), "sites", oob=True, **sites.now())

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        shown.pop(event.client, None)

    async def follow() -> None:
        while True:
            await asyncio.sleep(EVERY)
            if await register.note():
                await tell()

    async def context(client: Client | None, subject: str) -> Mapping[str, Any]:
        words, id = shown.get(client, ("", "")) if client else ("", "")
        keys = rows(register.keys())
        return {"keys": keys, **sites.now(), "name": register.name(id), "words": words}

    ext.add(KEYS, register)
    ext.add(PANELS, Panel("settings", "keys.html", context, title="API keys"))
    ext.spawn(follow(), "follow")
    ext.defer(register.note)
