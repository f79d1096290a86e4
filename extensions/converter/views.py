"""What the templates show: what can be converted, what is under way, and what went wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extensions.converter.finding import Found, find, one
from kernel.api import Client, Extension, Job

Name = tuple[str, str]
"""The place (models or loras), and the name below it."""


class Views:
    """What is known of what can be converted, for every page that shows it."""

    def __init__(self, ext: Extension[Any], roots: Mapping[str, Path]) -> None:
        self._ext, self._roots = ext, roots
        self._found: list[Found] = []
        self.open: set[Client] = set()
        self._models = dict[Client, str]()
        """The model whose own page a client saw last."""
        self.running: dict[Name, Job] = {}
        self.failed: dict[Name, str] = {}
        """Why the last attempt at each failed, while it is there."""

    async def context(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of panel.html."""
        self._found = await self._ext.thread(find, self._roots)
        if client and client.id:
            self.open.add(client)
        return self.now()

    def now(self) -> dict[str, Any]:
        """The context of _found.html."""
        return {"found": [self._view(each) for each in self._found]}

    async def one(self, client: Client | None, name: str) -> dict[str, Any]:
        """The context of file.html: one model, if it is to be converted."""
        if client and client.id:
            self._models[client] = name
        return await self._one(name)

    async def _one(self, name: str) -> dict[str, Any]:
        found = await self._ext.thread(one, self._roots, "models", name)
        return {"each": self._view(found) if found else None, "oob": False}

    def left(self, client: Client) -> None:
        """A page was closed."""
        self.open.discard(client)
        self._models.pop(client, None)

    async def look(self, *, tell: bool = False) -> None:
        """Look into the folders, and tell the pages what changed, or in any case."""
        before = self._found
        self._found = await self._ext.thread(find, self._roots)
        there = {(each.place, each.name) for each in self._found}
        self.failed = {name: why for name, why in self.failed.items() if name in there}
        if tell or before != self._found:
            await self.tell()

    async def tell(self) -> None:
        """Tell every page that shows it."""
        await self._ext.push("_found.html", key="found", oob=True, **self.now())
        for client, name in tuple(self._models.items()):
            shown = await self._one(name) | {"oob": True}
            await self._ext.push("file.html", client, "file", **shown)

    async def look_again(self) -> None:
        """Look, if any page shows what is found."""
        if any(client.tab == "models" for client in self.open):
            await self.look()

    def _view(self, each: Found) -> dict[str, Any]:
        name = (each.place, each.name)
        job = self.running.get(name)
        return {
            "name": each.name,
            "place": each.place,
            "what": each.what,
            "size": in_words(each.size),
            "job": job.progress.id if job else "",
            "fraction": job.progress.fraction if job else None,
            "note": job.progress.note if job else "",
            "failed": self.failed.get(name, ""),
        }


def in_words(size: int) -> str:
    """Bytes as a person reads them."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} B"
