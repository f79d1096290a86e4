"""What loads the engines of tests/engines in a worker of the tests' own Python."""

import sys
from pathlib import Path
from typing import Any, cast

import msgspec

from kernel.contract import Report
from kernel.loaders import LOADERS, Loader
from kernel.points import Phase
from kernel.testing import App
from kernel.worker import Limits, Worker
from kernel.workers import WorkerModel

PYTHON = Path(sys.executable)
ENGINES = Path(__file__).parent / "engines"


class Options(msgspec.Struct, frozen=True):
    """Of tests/engines/phases.py: seconds of loading, steps of reading, requests at once."""

    loading: float = 0.0
    gate: str = ""
    """A file: the load goes on until it is there."""
    reading: int = 2
    slots: int = 4


class InWorker:
    """A loader for any path."""

    Options = Options

    def __init__(self, engine: str = "phases.py:Engine", limits: Limits | None = None) -> None:
        self.id = self.label = engine.partition(".")[0]
        self.engine, self.limits = engine, limits or Limits()
        self.workers: list[Worker] = []

    def accepts(self, path: Path) -> bool:
        return True

    async def open(self, path: Path, options: Any, report: Report) -> WorkerModel:
        worker = await Worker.start(PYTHON, str(ENGINES / self.engine), limits=self.limits)
        self.workers.append(worker)
        try:
            info = await worker.load(path, msgspec.to_builtins(options), report)
        except BaseException:
            await worker.close(grace=0)
            raise
        return WorkerModel(worker, info)


def offer(app: App, loader: InWorker) -> InWorker:
    """Let the slots use it."""
    add = app.kernel.registry.add
    add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.LATE, rank=0, rewrites=False)
    return loader
