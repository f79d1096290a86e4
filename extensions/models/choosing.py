"""What each page looks at in its picker, and the form of how that is loaded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from kernel.api import (
    UNSET,
    Client,
    Extension,
    Field,
    Installs,
    Loader,
    Refused,
    Struct,
    ToInstall,
    check,
    fields,
)

from .advice import Advice, advice
from .asking import answered
from .beside import BESIDE, keep, rows
from .files import ModelFile
from .loading import Loading
from .saved import OURS, key
from .ways import Ways


class Chosen(Struct, frozen=True):
    """What a page looks at."""

    name: str
    wish: str = ""
    """The loader that was chosen for it."""
    typed: Mapping[str, Any] | None = None
    """What was typed and could not be loaded or saved."""
    errors: Mapping[str, str] = {}
    installs: ToInstall | None = None
    beside: tuple[Field, ...] = ()
    """Rows of other extensions."""


class Choosing:
    """The choice of each page, by the client's id."""

    def __init__(
        self,
        ext: Extension[Any],
        ways: Ways,
        loading: Loading,
        file: Callable[[str], ModelFile | None],
    ) -> None:
        self._ext, self._ways, self._loading, self._file = ext, ways, loading, file
        self._chosen: dict[str, Chosen] = {}
        self._asked: dict[str, object] = {}
        """The newest wish of each page: a slower one before it is not shown any more."""
        self._looks: dict[str, object] = {}
        """The newest look at what a page shows already."""
        self._fits: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def loader(self, model: ModelFile, wish: str = "") -> Loader | None:
        """The loader that was wished for, or is saved, or the first that takes the model."""
        found = self._ways.loader(model.name, model.path, wish)
        able = [each for each in self._ways.running(model.name) if each.id in model.loaders]
        return found if found in able else next(iter(able), None)

    async def choose(
        self,
        client: Client,
        name: str,
        wish: str = "",
        typed: Mapping[str, Any] | None = None,
        errors: Mapping[str, str] | None = None,
    ) -> None:
        """Show a page this model, and what loading it would install first."""
        asked = self._asked[client.id] = object()
        chosen = await self._made(Chosen(name, wish, typed, errors or {}))
        if self._asked.get(client.id) is asked:
            self._chosen[client.id] = chosen

    async def show(self, client: Client, name: str) -> None:
        """The same for a page that is drawn: where it showed this model, the loader that was
        chosen, what was typed well and what is said of the rest stay."""
        if self.name(client) == name:
            await self._remake(client)
        else:
            await self.choose(client, name)

    async def _remake(self, client: Client) -> None:
        """What it would install, and what others show with it, may be something else by now."""
        if not (before := self._chosen.get(client.id)):
            return
        look = self._looks[client.id] = object()
        made = await self._made(before)
        now = self._chosen.get(client.id)
        same = now and (now.name, now.wish) == (before.name, before.wish)
        if now and same and self._looks.get(client.id) is look:
            now = structs.replace(now, installs=made.installs, beside=made.beside)
            self._chosen[client.id] = now

    async def _made(self, chosen: Chosen) -> Chosen:
        """The same with what it would install, and what others show with it."""
        name, wish = chosen.name, chosen.wish
        await self._ext.thread(self._ways.look, name)
        model = self._file(name)
        loader = self.loader(model, wish) if model else None
        asks = isinstance(loader, Installs)
        installs = await answered(loader.missing, otherwise=None) if asks else None
        beside = await rows(self._ext.get(BESIDE), model) if model else ()
        shown = tuple(field for _, fields in beside for field in fields)
        return structs.replace(chosen, installs=installs, beside=shown)

    async def read(
        self, client: Client, name: str, wish: str, typed: Mapping[str, Any]
    ) -> tuple[Loader, dict[str, Any]] | None:
        """The loader and the options that a form says; none where the page is told what is wrong
        with them. Raises Refused where nothing loads it."""
        model = self._file(name)
        loader = self.loader(model, wish) if model else None
        if not loader:
            self._loading.path(name)  # Says that it is gone, where it is.
            raise Refused(f"Nothing that is switched on loads {name}. See Settings.")
        assert model
        beside = await rows(self._ext.get(BESIDE), model)
        others = {field.name for _, fields in beside for field in fields}
        mine = {field: value for field, value in typed.items() if field not in others}
        good, errors = check(loader.Options, mine)
        if not errors:
            await keep(beside, model, typed)
        await self.choose(client, name, loader.id, typed if errors else None, errors)
        default = loader.Options()
        options = {k: v for k, v in good.items() if v is not UNSET and v != getattr(default, k)}
        return None if errors else (loader, options)

    async def loaded(self, pages: Mapping[str, Client]) -> list[Client]:
        """A model came: what was to be installed for it is there now; answers whose form that
        changes."""
        waiting = [pages[id] for id, each in self._chosen.items() if each.installs and id in pages]
        for client in waiting:
            await self._remake(client)
        return waiting

    def forget(self, client: Client) -> None:
        self._chosen.pop(client.id, None)
        self._asked.pop(client.id, None)
        self._looks.pop(client.id, None)
        self._fits.pop(client.id, None)

    def fit(self, client: Client, name: str, fit: Mapping[str, Any]) -> bool:
        """What a model would take of the memory, as _fit.html shows it; says whether the page still
        looks at that one."""
        looks = self.name(client) == name
        if looks:
            self._fits[client.id] = name, fit
        return looks

    def name(self, client: Client) -> str:
        """The model that a page looks at."""
        chosen = self._chosen.get(client.id)
        return chosen.name if chosen else ""

    # --- the context of _load.html -----------------------------------------------------

    def view(self, client: Client | None, files: Sequence[ModelFile]) -> dict[str, Any] | None:
        """What _load.html shows, or nothing."""
        chosen = self._chosen.get(client.id) if client else None
        model = self._file(chosen.name) if chosen else None
        if not chosen or not model:
            return None
        loader = self.loader(model, chosen.wish)
        if loader and chosen.wish not in (
            "",
            loader.id,
        ):  # That one is gone.
            chosen = structs.replace(chosen, typed=None, errors={})
        able = [one for one in self._ways.running(model.name) if one.id in model.loaders]
        place = [each.name for each in files].index(model.name)
        return {
            "name": model.name,
            "key": f"{place}-{loader.id if loader else ''}",
            "loaders": [
                {"id": one.id, "label": one.label, "chosen": one is loader} for one in able
            ],
            "fields": [*self._fields(model, loader, chosen), *chosen.beside] if loader else [],
            "errors": dict(chosen.errors),
            "installs": chosen.installs,
            "fit": self._fit(client, model.name),
            "note": getattr(loader, "note", ""),
            "about": getattr(loader, "about", ""),
            "folder": model.path.is_dir(),
            "saved": self._ways.own(model.name),
            "where": f"{OURS}: {key(model.name)}",
            "gone": self._ways.gone(model.name, loader, [field.name for field in chosen.beside])
            if loader
            else [],
            "trouble": self._ways.saved.trouble,
            "advice": self._advice(model, loader) if loader else None,
        }

    def _fit(self, client: Client | None, name: str) -> Mapping[str, Any] | None:
        known, fit = self._fits.get(client.id if client else "", ("", None))
        return fit if known == name else None

    def _fields(self, model: ModelFile, loader: Loader, chosen: Chosen) -> list[Any]:
        """The rows, with what was typed, or with what it is loaded or would be loaded with."""
        options: Mapping[str, Any] | None = self._loading.tried(model.name, loader)
        if options is None:
            options = self._ways.options(model.name, loader)
        good, _ = check(loader.Options, {**options, **(chosen.typed or {})})
        known = {name: value for name, value in good.items() if value is not UNSET}
        return fields(loader.Options, loader.Options(**known))

    def _advice(self, model: ModelFile, loader: Loader) -> Advice | None:
        """What to change where just this failed."""
        error = self._ext.slot().state.error or self._loading.refused
        if not error or self._loading.failed != (model.name, loader.id):
            return None
        return advice(error, fields(loader.Options))
