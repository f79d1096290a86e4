"""The loader: as for every worker, and what the model remembers is kept between two loads."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kernel.api import WorkerDied, WorkerError, WorkerLoader, WorkerModel

PATIENCE = 10
"""Seconds that keeping what a model remembers may hold up its end."""


class Remembering(WorkerModel):
    """A model that saves what its conversations left before it goes."""

    folder: Path | None = None

    async def close(self) -> None:
        if self.folder and not self.died.done():
            with suppress(WorkerError, WorkerDied, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self.worker.call("save", folder=str(self.folder))
        await super().close()


class LlamaLoader(WorkerLoader):
    """Loads GGUF files; `folder` is where what models remember is kept."""

    folder: Path

    async def open(
        self, path: Path, options: Any, report: Callable[[float, str], None]
    ) -> WorkerModel:
        opened = await super().open(path, options, report)
        if not options.keep_cache or "state" not in opened.info.capabilities:
            return opened
        with suppress(WorkerError):
            await opened.worker.call("restore", folder=str(self.folder))
        model = Remembering(opened.worker, opened.info)
        model.folder = self.folder
        return model
