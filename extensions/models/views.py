"""What the templates of the picker show, and to whom it is pushed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from extensions.models.choosing import Choosing
from extensions.models.files import ModelFile, Shelf
from extensions.models.loading import Loading
from extensions.models.naming import told_apart
from extensions.models.progress import Progress
from extensions.models.rest import Rest
from extensions.models.watching import watching
from extensions.models.ways import Ways
from kernel.api import LOADERS, Client, Everyone, Extension, Generated, Usage

MOST = 200
"""Models in the picker; the Model page finds the others."""
DOWNLOADER = "downloader"
OFTEN = 0.5
"""Seconds between two looks at what an engine prints while it loads."""


class Views:
    """Contexts for the templates; the list of files is looked up anew when asked to."""

    def __init__(self, ext: Extension[Any], ways: Ways, loading: Loading, rest: Rest) -> None:
        self.loading, self.choosing = loading, Choosing(ext, ways, loading, self.file)
        self.progress = Progress(ext.slot())
        self.generated: Generated | None = None
        self.everyone = Everyone()
        self.trouble = ""
        """What was wrong with the model that was to be loaded at the start."""
        self._ext, self._rest = ext, rest
        self._told = True
        self._untold = False
        """Whether the list is another one than the pages were told, whoever looked."""
        self._shelf = Shelf(ext.models)
        self._pages: dict[str, Client] = {}
        self.beside: Callable[[Client], None] = lambda client: None
        """Told of each page whose picker is another one now."""
        self.trouble_of: Callable[[ModelFile], str] = lambda model: ""
        """Why a model is not to be loaded, where that is known."""

    @property
    def watched(self) -> bool:
        return bool(self._pages)

    async def look(self) -> bool:
        """List the files again; says whether anything changed."""
        changed = await self._ext.thread(self._shelf.look, self._ext.get(LOADERS))
        self._untold = self._untold or changed
        return changed

    async def glance(self) -> bool:
        """The same, but only if a folder was touched."""
        touched = await self._ext.thread(self._shelf.touched, self._ext.get(LOADERS))
        return touched and await self.look()

    async def watch(self, every: float, looked: Callable[[bool], Awaitable[None]]) -> None:
        """Let a file that is dropped into the folder appear while there are pages, for ever;
        `looked` is told whether anything changed."""

        async def look() -> None:
            if self.watched:
                changed = await self.glance() or self._untold
                self._untold = False
                if changed:
                    self.push_pickers()
                await looked(changed)

        await watching(self._ext, self._ext.models, every, look)

    async def follow(self) -> None:
        """Show what the engine prints while it loads, for ever."""
        shown: Sequence[str] = ()
        while True:
            await self.progress.going.wait()
            await asyncio.sleep(OFTEN)
            if self.watched and (now := self.progress.log()) != shown:
                shown = now
                self.push_pickers()

    @property
    def files(self) -> Sequence[ModelFile]:
        """What a running loader takes, as of the last look."""
        return self._shelf.models

    @property
    def all(self) -> Sequence[ModelFile]:
        """These, and what looks like a model."""
        return self._shelf.all

    def file(self, name: str) -> ModelFile | None:
        return next((model for model in self._shelf.models if model.name == name), None)

    def forget(self, client: Client) -> None:
        self.choosing.forget(client)
        self._pages.pop(client.id, None)

    # --- pushing -------------------------------------------------------------------------

    def say(self, trouble: str) -> None:
        """Show what was wrong at the start, until another model is loaded; empty to stop that.
        It is told too: to the pages that are there, or else to the first that comes."""
        self.trouble, self._told = trouble, self.watched or not trouble
        if trouble and self._told:
            self._ext.tell(trouble, self.everyone, "error")
        self.push_status()
        self.push_pickers()

    def greet(self, client: Client) -> None:
        """Tell the first page that connects what was wrong before it came."""
        self._pages[client.id] = client
        if not self._told:
            self._told = True
            self._ext.tell(self.trouble, client, "error")

    def push_status(self) -> None:
        if not self.watched:
            return
        html = self._ext.render("_status.html", slot=self.slot(), oob=True)
        self._ext.push_html(html, self.everyone, "status")

    def push_picker(self, client: Client) -> None:
        html = self._ext.render("_picker.html", oob=True, **self.picker(client))
        self._ext.push_html(html, client, "picker")
        self.beside(client)

    def push_pickers(self) -> None:
        for client in self._pages.values():
            self.push_picker(client)

    async def loaded(self) -> None:
        """A model came: what was to be installed for it is there now."""
        for client in await self.choosing.loaded(self._pages):
            self.push_picker(client)

    # --- contexts ------------------------------------------------------------------------

    async def context(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        if not client or not client.id:
            return {"slot": self.slot(), "first": True}
        self._pages[client.id] = client
        return self.picker(client)

    def picker(self, client: Client | None) -> dict[str, Any]:
        """The context of _picker.html; it contains that of _status.html."""
        found, usable = self._shelf.models, list[ModelFile]()
        after = 0
        for after, model in enumerate(found, 1):  # noqa: B007  how far it came
            if not self.trouble_of(model):
                usable.append(model)
            if len(usable) == MOST:
                break
        return {
            "slot": self.slot(),
            "files": [self._row(model) for model in usable],
            "more": len(found) - after,
            "trouble": self.trouble,
            "chosen": self.choosing.view(client, self._shelf.models),
            "at_start": self._ext.settings.at_start,
            "autoload": self._ext.settings.autoload,
            "idle": self._rest.minutes,
            "folder": str(self._ext.models),
            "downloads": self._downloads(),
        }

    def _downloads(self) -> str:
        """The section where models are downloaded, where that is on."""
        sections = {owner for owner, panel in self._ext.parts("models") if panel.title}
        return f"/models/{DOWNLOADER}" if DOWNLOADER in sections else ""

    def _row(self, model: ModelFile) -> dict[str, Any]:
        loaders = [loader for loader in self._ext.get(LOADERS) if loader.id in model.loaders]
        return {
            "name": model.name,
            "size": size_in_words(model.size),
            "loaders": [loader.label for loader in loaders],
        }

    def slot(self) -> dict[str, Any]:
        """The model slot in the words of _status.html."""
        now = self._ext.slot().state
        info, usage = now.info, self.generated.finish.usage if self.generated else None
        timings = self.generated.finish.timings if self.generated else None
        seconds = timings.completion if timings else 0
        labels = {loader.id: loader.label for loader in self._ext.get(LOADERS)}
        return {
            "state": "failed" if now.state == "empty" and self.trouble else now.state,
            "name": self._called(info.name, info.path) if info else self._called(now.name),
            "form": form_of(Path(info.path)) if info and info.path else "",
            "loader": labels.get(info.loader, info.loader) if info else "",
            "context_length": info.context_length if info else 0,
            "used": used_of(usage, info.context_length) if usage and info else 0,
            "rate": rate_of(usage.completion, seconds) if usage and info else 0,
            "fraction": now.fraction or None,
            "note": now.note,
            "error": now.error or (self.loading.refused if info else ""),
            "stages": self.progress.stages(),
            "log": self.progress.log(),
            "crash": self.progress.crash(),
            "rests": self._called(self._rest.of),
            "wakes": self._ext.settings.wake,
        }

    def _called(self, said: str, path: str = "") -> str:
        """A model's name for a person; without a `path` it is the one that was loaded last."""
        root, name = self._ext.models, self.loading.last.name
        if path:
            below = Path(path).is_relative_to(root)
            name = Path(path).relative_to(root).as_posix() if below else ""
        return told_apart(said, name, (model.name for model in self._shelf.models))


def used_of(usage: Usage, context: int) -> int:
    """Tokens of the context that the last reply took; one that fills it says a word more, which
    nothing follows."""
    used = usage.prompt + usage.completion
    return min(used, context) if context else used


def rate_of(tokens: int, seconds: float) -> float:
    """Tokens in a second; 0 for one alone: it comes with the prompt, and engines time the rest."""
    return tokens / seconds if tokens > 1 and seconds else 0


def size_in_words(size: int) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return ""


def form_of(path: Path) -> str:
    """A model's format, for two of one name may lie side by side."""
    return "folder" if path.is_dir() else path.suffix[1:].upper()
