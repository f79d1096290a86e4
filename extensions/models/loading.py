"""Load a model by its name below models/, now or when Spindle starts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from extensions.models.files import find, takes
from extensions.models.headers import Headers
from extensions.models.memory import Choice, Memory
from extensions.models.ways import Ways
from kernel.api import (
    LOADERS,
    UNSET,
    Everyone,
    Extension,
    Installs,
    Loader,
    LoadFailed,
    NoModel,
    Refused,
    Replaced,
    check,
    safe_path,
)

GUIDE = "guide/guide.gguf"
"""What a first start loads."""
Then = Callable[[], Awaitable[None]]
"""What follows a load, once the model is there."""


class Loaded(msgspec.Struct, frozen=True):
    """What was loaded last, and how."""

    name: str = ""
    loader: str = ""
    options: Mapping[str, Any] = {}


@runtime_checkable
class Refuses(Protocol):
    """A loader that tells, by headers and options alone, what it will refuse to open: `refuse`
    raises Refused then. It blocks a thread."""

    def refuse(self, path: Path, options: Any, /) -> None: ...


class Loading:
    """Loads into the chat slot, and remembers what was loaded and how."""

    def __init__(self, ext: Extension[Any], memory: Memory, ways: Ways) -> None:
        self.last = Loaded()
        """Whatever became of it."""
        self.failed: tuple[str, str] | None = None
        """The model that did not load, and the loader that could not."""
        self.refused = ""
        """Why, where that was told before the load began: the slot knows nothing of it."""
        self.called: Callable[[str], str] = lambda name: name
        """The name below models/ of what programs call so; set by Models."""
        self._ext, self._memory, self.ways = ext, memory, ways
        self._expecting: asyncio.Task[None] | None = None
        self._under_way: asyncio.Task[None] | None = None
        """The load that was begun last."""
        self._newest: object = None
        """The load that was asked for last."""
        self._then: Then = _nothing
        """What follows the load that was begun last."""
        self._there = Loaded()
        """What is loaded, or was when the load that is under way began."""

    def path(self, name: str) -> Path:
        """Raises Refused when there is no such model."""
        try:
            path = safe_path(self._ext.models, *name.split("/"), follow=True)
        except ValueError as error:
            raise Refused(f"{error} Choose a model in the picker.") from None
        if not path.exists():
            raise Refused(
                f"{name} is not below {self._ext.models}, or not any more. Choose another model."
            )
        return path

    async def meant(self, name: str, wish: str = "") -> str:
        """The model in a folder of that name, as text-generation-webui has it, unless the loader
        that is wished for or saved takes the folder, or any where none is; else the name. Raises
        Refused where there is none, or several are there."""
        path, loaders = self.path(name), self._ext.get(LOADERS)
        if not path.is_dir():
            return name
        await self._ext.thread(self.ways.look, name)
        takers = [loader for loader in loaders if takes(loader, path)]
        asked = self.ways.asked(name, wish)
        if asked in takers or (takers and not asked):
            return name
        able = [asked] if asked else loaders
        found = [f"{name}/{each}" for each in await self._ext.thread(models_in, path, able)]
        if len(found) > 1 and takers and not self.ways.named(wish):
            return name
        if len(found) > 1:
            others = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise Refused(
                f"{name} is a folder with several models: {', '.join(found[:5])}{others}. "
                "Name one of them."
            )
        return found[0] if found else name

    async def load(
        self,
        name: str,
        wish: str = "",
        options: Mapping[str, Any] = {},
        *,
        start: bool = False,
        instead: bool = False,
    ) -> None:
        """Load it as is saved for it, with these options before that, and at the `start` those of
        the command line; `instead` of another, it is not remembered as the last. Raises Refused
        when there is no such model, LoadFailed when it does not load."""
        name = await self.meant(name, wish)
        path = self.path(name)
        loader = await self._way(name, path, wish)
        said = dict(options)
        if loader:
            saved = self.ways.options(name, loader, start=start)
            good, bad = check(loader.Options, options)
            said = said if bad else saved | good  # What is bad the slot refuses, in its words.
        expecting, empty = self._expecting, self._ext.slot().state.state == "empty"
        if start and (expecting.done() if expecting else not empty):
            return  # Somebody chose another, or none, while this looked.
        then = _nothing if instead else partial(self._remember, name)
        await self._open(name, path, loader.id if loader else wish, said, then)

    async def load_so(self, name: str, loader: Loader, options: Mapping[str, Any]) -> None:
        """Load it with just these options, and save them once it is there; raises as `load`."""
        path = self.path(name)
        then = partial(self._keep, name, loader, options)
        await self._open(name, path, loader.id, options, then)

    async def joined(self, name: str) -> bool:
        """Wait for a load of this model that is under way, if one is; raises as that one."""
        name = await self.meant(name)
        if not (loading := self._under_way) or loading.done() or self.last.name != name:
            return False
        await asyncio.wait({loading})
        loading.result()
        return True

    @property
    def there(self) -> str:
        """The model that is loaded, or was when the slot became empty; "" where none was yet."""
        return self._there.name

    async def came(self) -> None:
        """What did not load is there, for the slot was asked for it again: that counts as well."""
        mine, model = self.last, self._ext.slot().model
        if not model or mine is self._there or self.failed != (mine.name, mine.loader):
            return
        with suppress(Refused):  # It may be gone from the folder by now.
            if model.info.path == str(self.path(mine.name)):
                self.failed, self._there = None, mine
                await self._then()

    def settled(self, name: str) -> None:
        """Another way was saved for it: what was tried before shows no more."""
        if self.last.name == name:
            self.last = Loaded()

    def tried(self, name: str, loader: Loader) -> Mapping[str, Any] | None:
        """The options with which it is loaded, is being loaded or could not be."""
        same = (self.last.name, self.last.loader) == (name, loader.id)
        return self.last.options if same and self._ext.slot().state.state != "empty" else None

    async def again(self, name: str, changes: Mapping[str, Any]) -> None:
        """Load a model as it is loaded, with some options changed, and save these; raises as
        `load`."""
        wish = self.last.loader if self.last.name == name else ""
        loader = await self._way(name, self.path(name), wish)
        if not loader:
            raise Refused(f"Nothing that is switched on loads {name}. See Settings.")
        saved, now = self.ways.options(name, loader), self.tried(name, loader)
        options = {**(saved if now is None else now), **changes}
        then = partial(self._keep, name, loader, {**saved, **changes})
        await self._open(name, self.path(name), loader.id, options, then)

    async def keep(self, name: str, changes: Mapping[str, Any]) -> None:
        """As `Models.keep`, if it is the model that is loaded; raises Refused."""
        there = self._there  # `last` may be forgotten: the form was saved meanwhile.
        loader = self.ways.named(there.loader)
        if there.name != name or not loader:
            return
        saved, (good, _) = self.ways.options(name, loader), check(loader.Options, changes)
        if changed := {k: v for k, v in good.items() if k in saved or k in there.options}:
            await self._ext.thread(self.ways.keep, name, loader, saved | changed)
            options = {**there.options, **changed}
            self._there = msgspec.structs.replace(there, options=options)
            if self.last is there:
                self.last = self._there

    async def cancel(self) -> None:
        """Give up a load; what it was to replace comes back, as after one that is refused. Raises
        as `load`."""
        slot, before = self._ext.slot(), self._there
        replaced = slot.state.state == "loading" and before.name and before is not self.last
        await slot.cancel("The loading was cancelled.")
        if replaced and slot.state.state == "empty":
            path = self.path(before.name)
            await self._open(before.name, path, before.loader, before.options, _nothing)

    def expect(self) -> None:
        """Say what `at_start` will load: its loader, and others, are not there yet."""
        if not (first := self._first):
            return
        for name in (first,) if self._wish else (first, GUIDE):
            with suppress(Refused):
                work = self._ext.slot().expect(self.path(name))
                self._expecting = self._ext.spawn(work, "expect")
                return

    async def at_start(self, say: Callable[[str], None]) -> None:
        """The model that `--model` names, or the one used last, or the guide; `say` is told when
        that cannot be. What is only missed for now is not forgotten: the guide stands in."""
        try:
            await self._load_first(say)
        except (LoadFailed, NoModel) as error:  # The slot shows it.
            self._ext.log.warning("%s", error)
        finally:
            if self._expecting:
                self._expecting.cancel()

    async def _load_first(self, say: Callable[[str], None]) -> None:
        if not (name := self._first):
            return
        instead = False
        if trouble := await self._trouble(name):
            if not (self._wish or self._memory.last or (self._ext.models / GUIDE).exists()):
                return  # There is no guide, and nobody asked for it.
            instead = not self._wish and name != GUIDE and not await self._trouble(GUIDE)
            self._ext.log.warning("%s", trouble)
            say(f"{trouble} The guide stands in." if instead else trouble)
            if not instead:
                return
            name = GUIDE
        await self.load(name, self._ext.flag("loader") or "", start=True, instead=instead)

    @property
    def culprit(self) -> str:
        """The model that an error of the slot is about: what was there before may be back."""
        slot = self._ext.slot()
        return self.failed[0] if slot.model and self.failed else self.last.name

    # --- inside ------------------------------------------------------------------------

    @property
    def _wish(self) -> str:
        """What `--model` names, below models/ or as programs do; a shell completes the name of a
        folder with a slash."""
        wish = (self._ext.flag("model") or "").rstrip("/")
        try:
            self.path(wish)
        except Refused:
            return self.called(wish) if wish else ""
        return wish

    @property
    def _first(self) -> str:
        """What a start loads, or would if it is there."""
        if self._wish or not self._ext.settings.at_start:
            return self._wish
        return self._memory.last or GUIDE

    async def _remember(self, name: str) -> None:
        with suppress(OSError):  # A convenience.
            await self._ext.thread(self._memory.loaded, name, self._memory.choice(name))

    async def _keep(self, name: str, loader: Loader, options: Mapping[str, Any]) -> None:
        """Save how it was loaded, and that it was the last."""
        choice: Choice | None = None
        try:
            await self._ext.thread(self.ways.keep, name, loader, options)
        except Refused as error:  # A folder of models may be read-only.
            self._ext.log.warning("%s Until then it is kept in the data folder.", error)
            choice = Choice(loader.id, msgspec.to_builtins(dict(options)))
        with suppress(OSError):
            await self._ext.thread(self._memory.loaded, name, choice)

    async def _way(self, name: str, path: Path, wish: str) -> Loader | None:
        """The loader, after a look at what is saved; none where the slot has to say why not."""
        await self._ext.thread(self.ways.look, name)
        if wish and not self.ways.named(wish):
            return None
        return self.ways.loader(name, path, wish)

    async def _open(
        self, name: str, path: Path, loader: str, options: Mapping[str, Any], then: Then
    ) -> None:
        """Load it, and then what follows; what would be refused in any case costs the model that
        is there nothing."""
        slot = self._ext.slot()
        self._newest = wish = object()
        self.refused = ""
        if slot.model and (why := await self._refusal(path, loader, options)):
            raise self._told(name, path, loader, why) from Refused(why)
        if self._newest is not wish:
            raise Replaced
        if not slot.model and slot.state.state != "loading":
            self._there = Loaded()
        mine = self.last = Loaded(name, loader, dict(options))
        self.failed, self._then = None, then
        loading = self._under_way = asyncio.create_task(slot.load(path, loader, options))
        loading.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({loading})  # Others may wait for it, too.
            loading.result()
        except BaseException:
            if self.last is mine:  # Else a newer choice replaced this one.
                self.failed = name, loader
                self.last = self._there if slot.model else mine  # That stays, or came back.
            raise
        self._there = mine
        await then()

    async def _refusal(self, path: Path, loader: str, options: Mapping[str, Any]) -> str:
        """Why a load will be refused, where its loader says that beforehand."""
        asked = self.ways.named(loader)
        if not isinstance(asked, Refuses):
            return ""
        good, errors = check(asked.Options, options)
        if errors:
            return ""  # The slot says them.
        known = {name: value for name, value in good.items() if value is not UNSET}
        try:
            await self._ext.thread(asked.refuse, path, asked.Options(**known))
        except Refused as refusal:
            return str(refusal)
        except Exception:  # The load meets it again, and tells it.
            self._ext.log.exception("%s could not look at %s", loader, path.name)
        return ""

    def _told(self, name: str, path: Path, loader: str, why: str) -> LoadFailed:
        """Tell it as the slot does where a load was begun."""
        self.failed = name, loader
        said = str(LoadFailed.of(path.name, why))
        if model := self._ext.slot().model:
            said = f"{said} {model.info.name} stays loaded."
        self.refused = said
        self._ext.tell(said, Everyone())
        return LoadFailed(said)

    async def _trouble(self, name: str) -> str:
        """Why a start does not load this: it is gone, or its engine would come without a question.
        Two have that answered: who names a model, and the very first start."""
        try:
            meant = await self.meant(name, self._ext.flag("loader") or "")
        except Refused as error:
            return str(error)
        if not (needs := await self._needs(meant, self.path(meant))):
            return ""
        needs = f"{name} needs {needs}, which is not installed."
        if name == self._wish:
            self._ext.log.warning("%s It is downloaded now, for --model asks for it.", needs)
            return ""
        first = name == GUIDE and not self._memory.last and not self._ext.flag("loader")
        return "" if first else f"{needs} Choose it in the picker to install it."

    async def _needs(self, name: str, path: Path) -> str:
        """The engine that a load would install first, and its size; empty when it is there."""
        loader = await self._way(name, path, self._ext.flag("loader") or "")
        try:
            what = await loader.missing() if isinstance(loader, Installs) else None
        except Exception as error:  # The load meets it again, and tells it.
            self._ext.log.debug("%s cannot say what it installs: %s", loader, error)
            return ""
        size = f" (on disk {what.size})" if what and what.size else ""
        return f"{loader.label}{size}" if what and loader else ""


async def _nothing() -> None:
    """What follows a load that is not to be remembered."""


def models_in(folder: Path, loaders: Sequence[Loader]) -> list[str]:
    """The names of the models there; what sees for one or belongs to one is none. Blocking."""
    found = find(folder, loaders)
    if len(found) < 2:
        return [each.name for each in found]
    headers = Headers()
    try:
        return [each.name for each in found if headers.read(each.path).role == "model"]
    finally:
        headers.close()
