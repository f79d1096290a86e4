"""Edit and see: a file that is saved restarts the extension it belongs to."""

import asyncio
import os
import time
from typing import Any

from extensions.workshop.finding import Finding
from kernel.api import Extension, Status

TICK = 20_000_000
"""Nanoseconds that the times of files may be behind the clock: they follow the kernel's ticks."""
Files = tuple[tuple[str, int, int], ...]
"""Path, time and size: what is emptied and filled within a tick has one time."""


class Editing:
    """Follows the files of what runs, and of what stopped running by an edit."""

    def __init__(self, ext: Extension[Any], finding: Finding) -> None:
        self._ext, self._kernel, self._finding = ext, ext.admin, finding
        self._seen: dict[str, Files] = {}
        self._fixed = {ext.id, *self._kernel.records[ext.id].needs}
        self._wanted = asyncio.Event()
        self.heed()
        for id in self._watched():  # They began before there was anybody to hear of it.
            self.started(id)

    def heed(self) -> None:
        """Watch from now on, or no longer: as the setting says."""
        if self._ext.settings.edit_and_see:
            self._wanted.set()
        else:
            self._wanted.clear()
            self._seen = {}

    def started(self, id: str) -> None:
        """Its files are as they run now, but for those saved since it began to start: the news
        of that may come late."""
        record = self._kernel.records.get(id)
        if self._ext.settings.edit_and_see and record and id not in self._seen:
            files, now = _files(str(record.folder)), time.time_ns()
            late = range(record.since - TICK, now)  # no later: that would be late for ever
            self._seen[id] = tuple(
                (path, 0 if at in late else at, size) for path, at, size in files
            )

    async def watch(self, every: float) -> None:
        """Restart whatever differs from the last look, for ever, while that is wanted."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(every)
            latest = await asyncio.to_thread(self._look, self._watched())
            if not self._wanted.is_set():
                continue
            edited = [id for id in latest if self._seen.get(id, latest[id]) != latest[id]]
            here = self._watched()  # What began meanwhile was not looked at.
            self._seen = {id: self._seen[id] for id in here if id in self._seen} | latest
            for id in edited:
                await self._restart(id)

    async def _restart(self, id: str) -> None:
        if id not in self._kernel.records:  # It went while another one was restarted.
            return
        self._kernel.trouble.pop(id, None)
        await self._kernel.stop(id, why=f"{self._kernel.name(id)} was edited.")
        await self._finding.refresh()  # its manifest may be what was edited
        if id in self._kernel.records:
            await self._kernel.start(id)

    def _watched(self) -> list[str]:
        fit = (Status.RUNNING, Status.FAILED, Status.QUARANTINED, Status.INCOMPATIBLE)
        records = self._kernel.records.values()
        ids = [r.id for r in records if r.is_(*fit) and self._kernel.enabled(r.id)]
        return [id for id in ids if id not in self._fixed]

    def _look(self, ids: list[str]) -> dict[str, Files]:
        records = self._kernel.records
        return {id: _files(str(records[id].folder)) for id in ids if id in records}


def _files(folder: str) -> Files:
    """What there is; caches, drafts of editors and tests are no part of what runs."""
    found: list[tuple[str, int, int]] = []
    try:
        for entry in os.scandir(folder):
            if entry.name.startswith((".", "__pycache__", "test_")) or entry.name.endswith("~"):
                continue
            if entry.is_dir(follow_symlinks=False):
                found += _files(entry.path)
            else:
                now = entry.stat()
                found.append((entry.path, now.st_mtime_ns, now.st_size))
    except OSError:
        return ()  # a folder that is going
    return tuple(sorted(found))
