"""For tests of extensions: a whole server in this process, a scripted model, a leak check."""

import asyncio
import gc
import re
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from kernel.app import Application
from kernel.clients import Client
from kernel.contract import (
    Delta,
    Finish,
    Message,
    ModelInfo,
    Report,
    Request,
    Token,
    Turn,
    Usage,
)
from kernel.manager import Kernel
from kernel.model import LOADERS, Loader
from kernel.points import Phase
from kernel.records import Status
from kernel.reply import Reply
from kernel.sampling import Struct
from kernel.settings import SettingsFile
from kernel.worker import WorkerDied

ROOT = Path(__file__).parent.parent


class Options(Struct, frozen=True):
    """A scripted model has none."""


class ScriptedGeneration:
    """Says the script, word by word; `pause` seconds between two words."""

    def __init__(self, model: "Scripted", script: str) -> None:
        self.finish: Finish | None = None
        self._model = model
        self._words = iter(re.findall(r"\s*\S+\s*$|\s*\S+", script))
        self._stopped = asyncio.Event()
        self._said = 0

    def __aiter__(self) -> "ScriptedGeneration":
        return self

    async def __anext__(self) -> Delta:
        if self._model.died.done():
            raise WorkerDied(self._model.died.result())
        if self._model.gate:
            stopped = asyncio.ensure_future(self._stopped.wait())
            opened = asyncio.ensure_future(self._model.gate.acquire())
            await asyncio.wait({stopped, opened}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            opened.cancel()
            if self._model.died.done():
                raise WorkerDied(self._model.died.result())
        elif self._model.pause:
            await asyncio.sleep(self._model.pause)
        word = next(self._words, None)
        if word is None or self._stopped.is_set():
            reason = "cancelled" if self._stopped.is_set() else "stop"
            self.finish = Finish(reason, usage=Usage(10, self._said))
            raise StopAsyncIteration
        self._said += 1
        return Delta(word, tokens=(Token(self._said, word.encode()),))

    def cancel(self) -> None:
        self._stopped.set()


class Scripted:
    """A model that says what it was told to; with a `gate` one word for each release."""

    def __init__(
        self, *scripts: str, pause: float = 0, gate: asyncio.Semaphore | None = None
    ) -> None:
        self.scripts, self.pause, self.gate = list(scripts) or ["Hello."], pause, gate
        self.asked: list[Request] = []
        self.info = ModelInfo("scripted", loader="scripted", context_length=4096)
        self.died: asyncio.Future[str] = asyncio.Future()

    def generate(self, request: Request) -> ScriptedGeneration:
        self.asked.append(request)
        return ScriptedGeneration(self, self.scripts[(len(self.asked) - 1) % len(self.scripts)])

    async def call(self, name: str, **data: Any) -> Any:
        raise LookupError(f"A scripted model knows no call {name!r}.")

    async def close(self) -> None:
        if not self.died.done():
            self.die("It was unloaded.")

    def die(self, why: str) -> None:
        self.died.set_result(why)
        for _ in range(100 if self.gate else 0):
            assert self.gate
            self.gate.release()


class ScriptedLoader:
    """Loads any path as the scripted model it was given."""

    id = label = "scripted"
    Options = Options

    def __init__(self, model: Scripted) -> None:
        self.model, self.loads = model, 0

    def accepts(self, path: Path) -> bool:
        return True

    async def open(self, path: Path, options: Any, report: Report) -> Scripted:
        self.loads += 1
        if self.model.died.done():
            self.model.died = asyncio.Future()
        report(0.5, "Half way")
        return self.model


class App:
    """A running server and its one page."""

    def __init__(self, kernel: Kernel, web: Application) -> None:
        self.kernel, self.web = kernel, web

    async def load(self, model: Scripted) -> ScriptedLoader:
        """Put a scripted model into the chat slot."""
        loader = ScriptedLoader(model)
        add = self.kernel.registry.add
        add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.LATE, rank=0, rewrites=False)
        await self.kernel.slot().load(Path("scripted"), "scripted")
        return loader

    def run(self, turn: Turn, history: Sequence[Message] = ()) -> Reply:
        return Reply(self.kernel, turn, history)

    async def until(self, true: Callable[[], bool], seconds: float = 5) -> None:
        """Wait until something became true."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not true():
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError("it did not become true in time")
            await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Wait until no extension is starting or stopping any more."""
        await asyncio.sleep(0)
        busy = (Status.STARTING, Status.STOPPING)
        await self.until(lambda: not any(r.is_(*busy) for r in self.kernel.records.values()))

    def page(self, path: str = "/") -> "Page":
        """Open a page; what it is sent collects in `html`."""
        page = Page(self, path)
        self.kernel.hub.clients.add(page.client)
        return page


class Page:
    """A page without a browser."""

    def __init__(self, app: App, path: str) -> None:
        self._app = app
        self.client = Client("test", "page:test", path)
        self.html = ""

    async def act(self, action: str, **values: Any) -> None:
        """Ask for something, and wait until it was carried out."""
        before = set(asyncio.all_tasks())
        hub = self._app.kernel.hub
        hub.receive(self.client, msgspec.json.encode({"action": action, **values}).decode())
        mine = asyncio.all_tasks() - before
        await asyncio.gather(*mine, return_exceptions=True)

    async def until(self, pattern: str, seconds: float = 5) -> str:
        """Wait until what the page was sent matches; answers the match."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            self.html += "".join(self.client.outbox.take())
            if found := re.search(pattern, self.html, re.DOTALL):
                return found.group()
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{pattern!r} never came; the page got:\n{self.html[-2000:]}")
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    *ids: str,
    model: Scripted | None = None,
    folders: Iterable[Path] = (),
    data: Path | None = None,
    settings: str = "",
    strict: bool = False,
) -> AsyncGenerator[App]:
    """Run extensions as the server would; nothing may be left when the block ends."""
    with tempfile.TemporaryDirectory() as scratch:
        data = data or Path(scratch) / "data"
        data.mkdir(exist_ok=True)
        file = data / "settings.yaml"
        if settings:
            file.write_text(settings, "utf-8")
        kernel = Kernel(
            SettingsFile(file, data / "secrets"),
            [ROOT / "extensions", *folders],
            data,
            templates=ROOT / "templates",
            strict=strict,
        )
        kernel.only = set(ids)
        web = Application(kernel, ROOT / "static")
        with leaving_nothing():
            kernel.discover()
            follow = asyncio.create_task(web.follow())
            await kernel.start_enabled()
            for id in ids:
                record = kernel.records[id]
                if record.status is not Status.RUNNING:
                    raise AssertionError(f"{id} is {record.status}: {record.reason}")
            app = App(kernel, web)
            try:
                if model:
                    await app.load(model)
                yield app
            finally:
                await kernel.close()
                follow.cancel()
                await asyncio.gather(follow, return_exceptions=True)


class leaving_nothing:
    """Fail when the block leaves tasks or threads behind."""

    def __enter__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._threads = set(threading.enumerate())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind:
            return
        gc.collect()
        mine = {asyncio.current_task()}
        tasks = {t for t in asyncio.all_tasks() - self._tasks - mine if not t.done()}
        threads = [t for t in set(threading.enumerate()) - self._threads if t.is_alive()]
        threads = [t for t in threads if not t.name.startswith(("asyncio_", "AnyIO"))]
        if tasks or threads:
            raise AssertionError(f"left behind: {[t.get_name() for t in tasks]} {threads}")
