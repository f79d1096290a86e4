"""The list of downloads on the page: how far each is, and what may be done with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kernel.api import Client, Extension

from . import views
from .asked import Cancel, Forget, Pause, Resume
from .choosing import ggufs, is_weights, missing_parts
from .downloads import OPEN, Downloads
from .news import DownloadMoved
from .plan import Plan
from .records import Entry, duration

FAILED = 20
"""Files that were given up, of those that are named."""
EVERY = 0.25
"""Seconds between two pictures of what moves."""


class Listing:
    """Draws the downloads. `show` draws them again when one moved, `changed` is called when one
    began or ended."""

    show: Callable[[], None]
    changed: Callable[[], Awaitable[None]]

    def __init__(self, ext: Extension[Any], downloads: Downloads) -> None:
        self._ext, self._downloads = ext, downloads
        self._moved = asyncio.Event()
        ext.on(Pause)(lambda a, _: downloads.pause(a.id))
        ext.on(Resume)(lambda a, _: downloads.resume(a.id))
        ext.on(Cancel)(lambda a, _: downloads.cancel(a.id))
        ext.on(Forget)(lambda a, client: self.forget(client, a.id))
        ext.on(DownloadMoved)(self._hear)
        ext.spawn(self._follow(), "follow")

    def now(self, repo: str = "") -> dict[str, Any]:
        """The context of _downloads.html: of one repository or all, the newest first."""
        entries = [e for e in self._downloads.entries if repo in ("", e.plan.repo)]
        return {"downloads": [row(entry) for entry in reversed(entries)]}

    def under_way(self) -> list[Plan]:
        """What is being fetched, or will be."""
        return [entry.plan for entry in self._downloads.entries if entry.state in OPEN]

    async def forget(self, client: Client, id: str) -> None:
        """Take it out of the list."""
        entry = self._downloads.get(id)
        await self._downloads.forget(id)
        if entry.state != "done":
            self._ext.tell(f"What was fetched of {entry.name} is removed.", client)

    async def _hear(self, event: DownloadMoved) -> None:
        self._moved.set()

    async def _follow(self) -> None:
        """Show every page what moved, a few times a second."""
        before = self._states()
        while True:
            await self._moved.wait()
            self._moved.clear()
            self.show()
            if (now := self._states()) != before:
                before = now
                await self.changed()
            await asyncio.sleep(EVERY)

    def _states(self) -> list[tuple[str, str]]:
        return [(entry.id, entry.state) for entry in self._downloads.entries]


def row(entry: Entry) -> dict[str, Any]:
    """A download in words."""
    plan, news, left = entry.plan, entry.news, entry.left
    failed = list(news.failed.items())
    return {
        "id": entry.id,
        "name": entry.name,
        "repo": plan.repo,
        "state": entry.state,
        "fraction": entry.fraction,
        "have": views.size(news.have),
        "total": views.size(news.total or plan.size),
        "files": len(plan.items),
        "done": news.done,
        "speed": f"{views.size(entry.speed)}/s" if entry.speed else "",
        "left": duration(left) if left else "",
        "note": entry.kept.why or news.rests or news.aside,
        "failed": [{"path": path, "why": why} for path, why in failed[:FAILED]],
        "more": max(0, len(failed) - FAILED),
        "lora": plan.root == "loras",
        "model": model_of(entry),
    }


def model_of(entry: Entry) -> str:
    """What the model picker calls it: its name below models/; "" of what is none."""
    plan = entry.plan
    if plan.root != "models":
        return ""
    if found := [choice for choice in ggufs(plan.items) if not missing_parts(choice)]:
        return "/".join(filter(None, (plan.folder, found[0].items[0].path)))
    paths = [item.path for item in plan.items]
    return plan.folder if "config.json" in paths and any(map(is_weights, paths)) else ""
