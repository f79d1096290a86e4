"""A whole server in this process, with the extensions a test is about."""

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from kernel.app import Application
from kernel.contract import Message, Report, Turn
from kernel.extension import Extension
from kernel.loaders import LOADERS, Loader
from kernel.manager import Kernel
from kernel.manifest import Manifest
from kernel.points import Phase
from kernel.records import Status
from kernel.reply import Reply
from kernel.settings import SettingsFile
from kernel.starting import start_enabled
from kernel.testing import kept
from kernel.testing.http import Answer, Door, Who, encoded
from kernel.testing.leaks import leaving_nothing
from kernel.testing.page import Page
from kernel.testing.scripted import Scripted, ScriptedLoader, WorkerScripts
from kernel.workers import Workers

ROOT = Path(__file__).parents[2]


class App:
    """A running server, its pages and its programs."""

    def __init__(self, kernel: Kernel, web: Application) -> None:
        self.kernel, self.web = kernel, web
        self.numbers = itertools.count(1)
        """Of the pages."""
        self._door: Door | None = None

    # --- extensions --------------------------------------------------------------------

    def extension(self, id: str) -> Extension[Any]:
        """The handle of a running extension."""
        record = self.kernel.records[id]
        assert record.handle, f"{id} is {record.status}: {record.reason}"
        return record.handle

    async def toggle(self, id: str, *, on: bool) -> None:
        """Flip its switch in Settings."""
        await self.kernel.changes.toggle(id, on=on)

    async def configure(self, id: str, **values: Any) -> None:
        """Change its settings as its card does; a value that is refused fails the test."""
        errors = await self.kernel.changes.configure(id, values)
        assert not errors, errors
        await self.settled()

    async def settled(self) -> None:
        """Wait until no extension is starting or stopping any more."""
        await asyncio.sleep(0)
        busy = (Status.STARTING, Status.STOPPING)
        await self.until(lambda: not any(r.is_(*busy) for r in self.kernel.records.values()))

    async def until(self, true: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until something became true."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not true():
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError("it did not become true in time")
            await asyncio.sleep(0.005)

    # --- models ------------------------------------------------------------------------

    async def load(self, model: Scripted) -> ScriptedLoader:
        """Put a scripted model into the chat slot."""
        loader = ScriptedLoader(model)
        await self._load(cast(Loader, loader))
        return loader

    async def load_in_worker(self, *scripts: str, pause: float = 0) -> None:
        """Put one into the slot that runs in a child process, as real engines do."""
        await self._load(cast(Loader, WorkerScripts(scripts or ["Hello."], pause)))

    async def _load(self, loader: Loader) -> None:
        add = self.kernel.registry.add
        add(LOADERS, loader, "kernel", phase=Phase.LATE, rank=0, rewrites=False)
        await self.kernel.slot().load(Path("scripted"), loader.id)

    def run(self, turn: Turn, history: Sequence[Message] = ()) -> Reply:
        return Reply(self.kernel, turn, history)

    async def say(self, text: str = "?", **fields: Any) -> str:
        """Ask the model for a plain completion, with every modifier; answers its words."""
        reply = self.run(Turn(prompt=text, **fields))
        _ = [delta async for delta in reply]
        return reply.text

    # --- who asks ----------------------------------------------------------------------

    def page(self, path: str = "/") -> Page:
        """A page that was sent nothing yet; what it is sent collects in its `html`."""
        page = Page(self, path)
        self.kernel.hub.clients.add(page.client)
        return page

    async def open(self, path: str = "/") -> Page:
        """A page as a browser opens it, with all that it shows."""
        return await self.page(path).connect()

    async def fetch(
        self,
        path: str,
        method: str = "GET",
        *,
        who: Who = "page",
        json: Any = None,
        form: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] = {},
    ) -> Answer:
        """Ask for a path as a `"page"`, a program with the `"key"`, a `"local"` one on this machine
        without it, or `"nobody"`."""
        self._door = self._door or Door(self.kernel, self.web)
        kind, body = encoded(json, form, body)
        return await self._door.fetch(path, method, who, {**kind, **headers}, body)


@asynccontextmanager
async def running(
    *extensions: str | Path,
    model: Scripted | None = None,
    folders: Iterable[Path] = (),
    data: Path | None = None,
    settings: str | Mapping[str, Mapping[str, Any]] = "",
    strict: bool = False,
    python: Path | None = None,
) -> AsyncGenerator[App]:
    """Run extensions as the server would; nothing may be left when the block ends.

    An extension is an id, or its folder. `folders` holds more of them; `settings` is each
    extension's values by its id, or a whole settings.yaml; `python` is an interpreter that runs
    workers in place of their environments.
    """
    ids = [each if isinstance(each, str) else each.resolve().name for each in extensions]
    places = [each.resolve().parent for each in extensions if isinstance(each, Path)]
    with tempfile.TemporaryDirectory() as scratch:
        data = data or Path(scratch) / "data"
        data.mkdir(exist_ok=True)
        file = data / "settings.yaml"
        if settings:
            file.write_text(_yaml(settings), "utf-8")
        roots = [*dict.fromkeys((ROOT / "extensions", *places, *folders))]
        kernel = Kernel(
            SettingsFile(file, data / "secrets"),
            roots,
            data,
            templates=ROOT / "templates",
            strict=strict,
        )
        kernel.discovery = kept.Found(roots, data / "installed")
        kernel.only = set(ids)
        if python:
            kernel.workers = Here(python, kernel)
        web = Application(kernel, ROOT / "static")
        kernel.discover()
        async with leaving_nothing():
            with kept.modules(kernel):
                follow = asyncio.create_task(web.follow())
                app = App(kernel, web)
                try:
                    await start_enabled(kernel)
                    for id in ids:
                        app.extension(id)
                    if model:
                        await app.load(model)
                    yield app
                finally:
                    kept.keep(kernel)
                    await kernel.close()
                    follow.cancel()
                    await asyncio.gather(follow, return_exceptions=True)
                    kept.forget(kernel)


def _yaml(settings: str | Mapping[str, Mapping[str, Any]]) -> str:
    if isinstance(settings, str):
        return settings
    lines = ["extensions:"]
    for id, values in settings.items():
        lines.append(f"  {id}:")
        lines += [f"    {name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


class Here(Workers):
    """Starts workers with an interpreter that is there already."""

    def __init__(self, python: Path, kernel: Kernel) -> None:
        super().__init__(kernel.workers.root, kernel.discovery, kernel.jobs)
        self._python = python

    async def prepare(
        self, manifest: Manifest, variant: str, report: Report | None, folder: Path | None = None
    ) -> Path:
        return self._python
