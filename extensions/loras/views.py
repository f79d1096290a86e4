"""What the templates show: the adapters, which fit the loaded model, and which are applied."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from kernel.api import Client, Everyone, Extension

from .applied import Applied
from .files import Adapter, Shelf
from .fitting import Base, misfit


class Views:
    """Contexts for the templates, and who is sent them."""

    def __init__(self, ext: Extension[Any], shelf: Shelf, applied: Applied) -> None:
        self.pages: set[str] = set()
        self._ext, self._shelf, self._applied = ext, shelf, applied
        self._base: Base | None = None
        self._misfits: dict[Adapter, str] = {}

    async def look(self) -> bool:
        """List the folder anew, and tell what fits the model that is there now; says whether there
        is anything new."""
        changed = await self._ext.thread(self._shelf.look)
        return await self._ext.thread(self._fit) or changed

    async def there(self) -> Sequence[Adapter]:
        """All adapters, as the folder is now."""
        await self._ext.thread(self._shelf.look)
        return self._shelf.adapters

    async def context(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of panel.html."""
        await self._applied.meet(self._applied.moment)
        await self.look()
        return self.shown()

    async def status(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of status.html, which every page has."""
        if client and client.id:
            self.pages.add(client.id)
        return {"applied": self._applied_now()}

    def shown(self) -> dict[str, Any]:
        """The context of _loras.html."""
        info, applied = self._ext.slot().state.info, self._applied
        rows = [self._row(adapter, dict(applied.now)) for adapter in self._shelf.adapters]
        return {
            "adapters": sorted(rows, key=lambda row: bool(row["why"])),
            "applied": self._applied_now(),
            "model": info.name if info else "",
            "takes": applied.able.more or bool(applied.able.own) or applied.reloads,
            "reloads": applied.reloads,
            "folder": str(self._ext.loras),
        }

    async def push(self) -> None:
        """Show all pages what is true now."""
        await self._ext.push("_loras.html", Everyone(), "loras", oob=True, **self.shown())
        applied = self._applied_now()
        await self._ext.push("_status.html", Everyone(), "status", oob=True, applied=applied)

    # --- inside -------------------------------------------------------------------------

    def _fit(self) -> bool:
        """Find out what fits, as far as that is not known; blocking."""
        before, base = self._misfits, self._applied.base
        known = before if base is self._base else {}
        adapters = self._shelf.adapters
        self._base = base
        self._misfits = {
            each: known[each] if each in known else misfit(each, base) for each in adapters
        }
        return before != self._misfits

    def _row(self, adapter: Adapter, applied: Mapping[str, float]) -> dict[str, Any]:
        why = self._misfits.get(adapter, adapter.trouble)
        return {
            "key": hashlib.sha256(adapter.name.encode()).hexdigest()[:12],
            "name": adapter.name,
            "form": adapter.form,
            "size": in_words(adapter.size),
            "base": adapter.base,
            "rank": adapter.rank,
            "alpha": f"{adapter.alpha:g}" if adapter.alpha else "",
            "targets": adapter.targets,
            "broken": bool(adapter.trouble),
            "why": why,
            "applied": adapter.name in applied,
            "weight": f"{applied.get(adapter.name, 1):g}",
        }

    def _applied_now(self) -> list[dict[str, str]]:
        return [{"name": name, "weight": f"{w:g}"} for name, w in self._applied.now]


def in_words(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} KB"
