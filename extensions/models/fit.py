"""Will it fit? What the model that a page looks at would take of the memory, drawn as bars."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from extensions.engine_kit.api import Fit, Memory, Share, Used, Weighs, held, memories, used
from extensions.models.files import ModelFile
from extensions.models.views import Views, size_in_words
from kernel.api import (
    UNSET,
    Action,
    Client,
    Disconnected,
    Extension,
    Loader,
    SlotChanged,
    WorkerModel,
    check,
)

PARTS = (("weights", "Weights"), ("cache", "Conversations"), ("compute", "Engine and computing"))


class Weigh(Action, frozen=True):
    """The form to load a model was opened or changed; `rest` are the loader's options in it."""

    file: str
    loader: str = ""
    at: Literal["models", "models-page"] = "models"
    """Which of the two forms: the picker's, or that of the model's own page."""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Fits:
    """Answers the form of each page, and again when a model comes or goes."""

    def __init__(self, ext: Extension[Any], views: Views) -> None:
        self._ext, self._views = ext, views
        self._asked: dict[tuple[str, str], tuple[Client, Weigh]] = {}

        @ext.on(Weigh)
        async def weigh(action: Weigh, client: Client) -> None:
            await self._answer(client, action)

        @ext.on(SlotChanged)
        async def changed(event: SlotChanged) -> None:
            settled = event.state != "loading" and not event.note
            if event.slot == ext.slot().name and settled:
                for at, asked in tuple(self._asked.items()):
                    if self._asked.get(at) is asked:
                        await self._answer(*asked)

        @ext.on(Disconnected)
        async def disconnected(event: Disconnected) -> None:
            for asked in [asked for asked in self._asked if asked[0] == event.client.id]:
                del self._asked[asked]

    async def _answer(self, client: Client, action: Weigh) -> None:
        """Nothing for what cannot be loaded so: the form says why when it is sent."""
        wish = self._asked[client.id, action.at] = client, action
        model = self._views.file(action.file)
        loader = self._views.choosing.loader(model, action.loader) if model else None
        if not model or not loader:
            return
        known = loader.Options.__struct_fields__  # The form holds what others save with it, too.
        typed = {name: value for name, value in action.rest.items() if name in known}
        good, errors = check(loader.Options, typed)
        if errors:
            return
        options = loader.Options(**{k: v for k, v in good.items() if v is not UNSET})
        fit = await self._ext.thread(self._weighed, model, loader, options)
        if self._asked.get((client.id, action.at)) is wish:  # Else another answer is under way.
            self._show(client, model.name, view(fit), action.at)

    def _show(self, client: Client, name: str, fit: Mapping[str, Any], at: str) -> None:
        if self._views.choosing.fit(client, name, fit):
            html = self._ext.render("_fit.html", fit=fit, at=at, oob=True)
            self._ext.push_html(html, client, f"fit-{at}")

    def _weighed(self, model: ModelFile, loader: Loader, options: Any) -> Fit:
        """Blocks while headers are read and drivers are asked."""
        there = given_back(memories(), self._worker())
        if isinstance(loader, Weighs):
            try:
                return loader.weigh(model.path, options, there)
            except Exception:  # It costs the bars, not the form.
                self._ext.log.exception("%s could not weigh %s", loader.id, model.name)
        return unknown(model.size, there[0])

    def _worker(self) -> int:
        """The process of what is loaded, which goes before another model comes; or 0."""
        model = self._ext.slot().model
        return model.worker.pid if isinstance(model, WorkerModel) else 0


def given_back(there: Sequence[Memory], pid: int) -> list[Memory]:
    """The memories with what a process holds counted as free; of cards, only where there is one."""
    now: Used | None = used(pid) if pid else None
    if not now:
        return list(there)
    own, *cards = there
    found = [msgspec.structs.replace(own, free=own.free + now.own)]
    if len(cards) == 1 and (back := held(pid)):
        cards = [msgspec.structs.replace(cards[0], free=cards[0].free + back)]
    return [*found, *cards]


def unknown(size: int, own: Memory) -> Fit:
    """For a loader that does not tell: the file's size only."""
    said = (
        f"This loader does not tell what a model takes of the memory. Its files have "
        f"{size_in_words(size)}, and {size_in_words(own.free)} are free."
    )
    return Fit("fits" if size < own.free else "tight", said, (Share(own, weights=size),))


# --- as bars ----------------------------------------------------------------------------


def view(fit: Fit) -> dict[str, Any]:
    """The context of _fit.html."""
    return {"verdict": fit.verdict, "said": fit.said, "bars": [bar(each) for each in fit.shares]}


def bar(share: Share) -> dict[str, Any]:
    """What others use comes first, then the parts; percents of the memory, or of more than it."""
    memory = share.memory
    taken = max(0, memory.total - memory.free)
    whole = max(memory.total, taken + share.total, 1)
    at, parts = 100 * taken / whole, list[dict[str, Any]]()
    for name, label in PARTS:
        if size := getattr(share, name):
            wide = 100 * size / whole
            parts.append(
                {"name": name, "label": label, "size": size_in_words(size)} | span(at, wide)
            )
            at += wide
    return {
        "name": memory.name or "Memory",
        "taken": {"size": size_in_words(taken), **span(0, 100 * taken / whole)},
        "parts": parts,
        "total": size_in_words(share.total),
        "free": size_in_words(memory.free),
        "end": round(100 * memory.total / whole, 2),
        "over": share.total > memory.free,
    }


def span(at: float, wide: float) -> dict[str, float]:
    return {"at": round(at, 2), "wide": round(wide, 2)}
