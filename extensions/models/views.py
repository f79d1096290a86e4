"""What the templates of the picker show, and to whom it is pushed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from extensions.models.files import ModelFile, Shelf
from extensions.models.memory import Memory
from kernel.api import (
    LOADERS,
    UNSET,
    Client,
    Everyone,
    Extension,
    Generated,
    Installs,
    Loader,
    ToInstall,
    check,
    fields,
)

SHARE = 20
"""How much longer than a look into the folder the time between two of them is, at least."""


class Chosen:
    """What one page looks at in its picker."""

    def __init__(
        self, name: str, loader: str, errors: Mapping[str, str], installs: ToInstall | None
    ) -> None:
        self.name, self.loader, self.errors, self.installs = name, loader, errors, installs


class Views:
    """Contexts for the templates; the list of files is looked up anew when asked to."""

    def __init__(self, ext: Extension[Any], memory: Memory) -> None:
        self.generated: Generated | None = None
        self.everyone = Everyone()
        self.trouble = ""
        """What was wrong with the model that was to be loaded at the start."""
        self._ext, self._memory = ext, memory
        self._told = True
        self._shelf = Shelf(ext.models)
        self._chosen: dict[str, Chosen] = {}
        self._pages: dict[str, Client] = {}
        self.beside: Callable[[Client], None] = lambda client: None
        """Told of each page whose picker is another one now."""

    @property
    def watched(self) -> bool:
        return bool(self._pages)

    async def look(self) -> bool:
        """List the files again; says whether anything changed."""
        return await self._ext.thread(self._shelf.look, self._ext.get(LOADERS))

    async def glance(self) -> bool:
        """The same, but only if a folder was touched."""
        touched = await self._ext.thread(self._shelf.touched, self._ext.get(LOADERS))
        return touched and await self.look()

    async def watch(self, every: float, looked: Callable[[bool], Awaitable[None]]) -> None:
        """Let a file that is dropped into the folder appear while there are pages, for ever;
        `looked` is told whether anything changed. A large folder is looked at less often."""
        pause = every
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            try:
                if self.watched:
                    if changed := await self.glance():
                        self.push_pickers()
                    await looked(changed)
            except Exception:
                self._ext.log.exception("%s could not be listed", self._ext.models)
            pause = max(every, SHARE * (time.monotonic() - began))

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

    def loader(self, model: ModelFile, wish: str) -> Loader | None:
        """The loader that was wished for, or remembered, or the first that takes the model."""
        able = [loader for loader in self._ext.get(LOADERS) if loader.id in model.loaders]
        for id in (wish, self._memory.choice(model.name).loader):
            for loader in able:
                if loader.id == id:
                    return loader
        return able[0] if able else None

    async def choose(
        self, client: Client, name: str, wish: str, errors: Mapping[str, str] | None = None
    ) -> None:
        """Show a page this model, and what loading it would install first."""
        model = self.file(name)
        loader = self.loader(model, wish) if model else None
        installs = await loader.missing() if isinstance(loader, Installs) else None
        self._chosen[client.id] = Chosen(name, wish, errors or {}, installs)

    def forget(self, client: Client) -> None:
        self._chosen.pop(client.id, None)
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
        for id, chosen in list(self._chosen.items()):
            if chosen.installs and id in self._pages:
                await self.choose(self._pages[id], chosen.name, chosen.loader, chosen.errors)
                self.push_picker(self._pages[id])

    # --- contexts ------------------------------------------------------------------------

    async def context(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        if not client or not client.id:
            return {"slot": self.slot(), "first": True}
        self._pages[client.id] = client
        return self.picker(client)

    def picker(self, client: Client | None) -> dict[str, Any]:
        """The context of _picker.html; it contains that of _status.html."""
        return {
            "slot": self.slot(),
            "files": [
                {
                    "name": model.name,
                    "size": size_in_words(model.size),
                    "loaders": [
                        loader.label
                        for loader in self._ext.get(LOADERS)
                        if loader.id in model.loaders
                    ],
                }
                for model in self._shelf.models
            ],
            "trouble": self.trouble,
            "chosen": self._chosen_view(client),
            "at_start": self._ext.settings.at_start,
            "folder": str(self._ext.models),
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
            "name": info.name if info else now.name,
            "form": form_of(Path(info.path)) if info and info.path else "",
            "loader": labels.get(info.loader, info.loader) if info else "",
            "context_length": info.context_length if info else 0,
            "used": usage.prompt + usage.completion if usage and info else 0,
            "rate": usage.completion / seconds if usage and seconds and info else 0,
            "fraction": now.fraction or None,
            "note": now.note,
            "error": now.error,
        }

    def _chosen_view(self, client: Client | None) -> dict[str, Any] | None:
        chosen = self._chosen.get(client.id) if client else None
        model = self.file(chosen.name) if chosen else None
        if not chosen or not model:
            return None
        loader = self.loader(model, chosen.loader)
        able = [one for one in self._ext.get(LOADERS) if one.id in model.loaders]
        return {
            "name": model.name,
            "key": f"{self._shelf.models.index(model)}-{loader.id if loader else ''}",
            "loaders": [
                {"id": one.id, "label": one.label, "chosen": one is loader} for one in able
            ],
            "fields": self._fields(model, loader) if loader else [],
            "errors": dict(chosen.errors),
            "installs": chosen.installs,
            "note": getattr(loader, "note", ""),
            "about": getattr(loader, "about", ""),
            "folder": model.path.is_dir(),
        }

    def _fields(self, model: ModelFile, loader: Loader) -> list[Any]:
        remembered = self._memory.choice(model.name)
        options = remembered.options if remembered.loader in ("", loader.id) else {}
        good, _ = check(loader.Options, options)
        known = {name: value for name, value in good.items() if value is not UNSET}
        return fields(loader.Options, loader.Options(**known))


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
