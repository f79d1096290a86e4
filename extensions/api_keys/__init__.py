"""Makes and revokes keys for programs, and lets pages of other sites in that come with one."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from kernel.api import (
    PANELS,
    Action,
    Client,
    Everyone,
    Extension,
    Meta,
    Panel,
    SectionChanged,
)

from .api import KEYS
from .listing import rows
from .register import Register
from .shown import Shown
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
    shown = Shown()

    async def tell() -> None:
        await ext.push("_keys.html", Everyone(), "keys", oob=True, keys=rows(register.keys()))

    @ext.on(Make)
    async def make(action: Make, client: Client) -> None:
        name = " ".join(action.name.split())
        words = await register.make(name, action.scope, action.at_once, action.tokens)
        shown.keep(client, name, words)
        await ext.push("_new.html", client, oob=True, name=name, words=words)
        await tell()

    @ext.on(PutAway)
    async def put_away(_: PutAway, client: Client) -> None:
        shown.forget(client)
        await ext.push("_new.html", client, oob=True, name="", words="")

    @ext.on(Change)
    async def change(action: Change, client: Client) -> None:
        name = " ".join(action.name.split())
        await register.change(action.id, name, action.at_once, action.tokens)
        await tell()

    @ext.on(Revoke)
    async def revoke(action: Revoke, client: Client) -> None:
        shown.revoked(register.name(action.id))
        try:
            key = await register.revoke(action.id)
        finally:
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

    async def follow() -> None:
        while True:
            await asyncio.sleep(EVERY)
            if await register.note():
                await tell()

    async def context(client: Client | None, subject: str) -> Mapping[str, Any]:
        name, words = shown.to(client)
        return {"keys": rows(register.keys()), **sites.now(), "name": name, "words": words}

    ext.add(KEYS, register)
    ext.add(PANELS, Panel("settings", "keys.html", context, title="API keys"))
    ext.spawn(follow(), "follow")
    ext.defer(register.note)
