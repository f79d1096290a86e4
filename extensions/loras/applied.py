"""Which adapters are applied: the one place that pages, programs and the engine agree on."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from extensions.models.api import Models
from kernel.api import (
    LOADERS,
    Draft,
    Everyone,
    Extension,
    LoadFailed,
    Model,
    NoModel,
    Refused,
    WorkerDied,
)

from . import engine
from .files import Shelf, Stamp
from .fitting import Base, base_of, form_for, misfit
from .memory import Kept, Weighted, keep, read

MOST = 32
"""Adapters at once; as many as the load form of llama.cpp takes."""
HEAVIEST = 100.0


class Applied:
    """What is applied to the chat slot's model, and how that changes."""

    def __init__(self, ext: Extension[Any], shelf: Shelf, models: Models) -> None:
        self._ext, self._shelf, self._models = ext, shelf, models
        self._slot, self._file = ext.slot(), ext.data / "applied.json"
        self._kept = read(self._file)
        had = self._slot.model or models.last
        self._asked: Sequence[str] = () if had else ext.flag("lora") or ()
        """What the command line still waits to have applied: the first model has it."""
        self._known: object = None
        self._met: object = None
        """The life of the model that all of this is true of; `_known` is one that is being met."""
        self._reading: Weighted = ()
        """Those that the engine reads at this moment."""
        self._as_read: dict[str, Stamp] = {}
        """The files of those that it has read, as they were then: it reads each once."""
        self._changing = asyncio.Lock()
        self._meeting: asyncio.Task[None] | None = None
        self.moment = 1.0
        """Seconds that a request, or a page, waits for adapters that are being read: both have two
        for all that they do."""
        self.able = engine.Able()
        self.base: Base | None = None

    @property
    def now(self) -> Weighted:
        """Those that change the replies of the model that is loaded."""
        return self._kept.adapters if self._life() and self._life() is self._met else ()

    @property
    def reloads(self) -> bool:
        """Whether the model is loaded again for another choice."""
        return bool(self._slot.model) and not self.able.more and self._takes_at_load()

    async def add(self, draft: Draft) -> Draft:
        """The `REQUEST` modifier: a request that names adapters itself keeps its own."""
        request, model = draft.request, self._slot.model
        if request.slot != self._slot.name or request.adapters or not model:
            return draft
        await self.meet(self.moment)
        if self._life() is self._met:
            adapters = self.now or tuple((name, 0.0) for name, _ in self.able.own[:1])
        else:
            adapters = self._coming(model)
        return structs.replace(draft, request=structs.replace(request, adapters=adapters))

    async def apply(self, wish: Sequence[tuple[str, float]], *, reload: bool = False) -> None:
        """Apply these instead of what is applied now; `reload` allows to load the model again for
        it. Raises Refused where that cannot be, and LoadFailed."""
        await self.meet()
        async with self._changing:
            await self._apply(wish, reload=reload)

    async def drop_gone(self) -> bool:
        """Apply no longer what is gone from the folder, and tell it; says whether anything was."""
        model = self._slot.model
        if not model or self._life() is not self._met or self._changing.locked():
            return False
        names = [name for name, _ in self.now]
        if not names or await self._ext.thread(lambda: all(map(self._shelf.has, names))):
            return False
        async with self._changing:
            if model is not self._slot.model:
                return False  # Another one came while the disk was asked.
            await self._keep(model, self._there(self.now))
        return True

    async def meet(self, seconds: float | None = None) -> None:
        """Be up to date with the model that is loaded, or wait for that so long: what was applied
        to it comes back, what was for another goes."""
        if not self._slot.model or self._life() is self._met:
            return
        if not self._meeting or self._meeting.done():
            self._meeting = self._ext.spawn(self._follow(), "meet")
        await asyncio.wait({self._meeting}, timeout=seconds)  # Who gives up breaks nothing off.

    # --- inside -------------------------------------------------------------------------

    def _life(self) -> object:
        """What is another thing after each load, also of the same model."""
        return self._slot.model.died if self._slot.model else None

    def _coming(self, model: Model) -> Weighted:
        """Those of a model that is still being met: its engine reads them before what is asked."""
        same = self._kept.model and self._kept.model == model.info.path
        return self._reading or (self._kept.adapters if same else ())

    async def _follow(self) -> None:
        """Meet the model that is there, and the one that came meanwhile."""
        async with self._changing:
            while (model := self._slot.model) and self._life() is not self._met:
                await self._meet(model)
                self._met = self._known

    async def _apply(self, wish: Sequence[tuple[str, float]], *, reload: bool) -> None:
        model = self._slot.model
        if not model:
            raise Refused("No model is loaded. Load one, then apply adapters to it.")
        await self._ext.thread(self._shelf.look)
        chosen = self._named(wish)
        for name, _ in chosen:
            await self._check(name)
        if self._without_reload(chosen):
            await self._read(model, chosen)
            await self._correct(chosen)
        elif not self._takes_at_load():
            label = model.info.loader or "its loader"
            raise Refused(
                f"{model.info.name} in {label} takes no adapters. Load it with another loader."
            )
        elif not reload:
            raise Refused(
                f"{model.info.name} takes adapters only while it is loaded. Apply them on the "
                "Model page, which loads it again, or load it with the option lora."
            )
        else:
            await self._reload(chosen)
            return
        await self._keep(model, chosen)

    async def _reload(self, chosen: Weighted) -> None:
        """Load the model again with these. Raises as `Models.reload`."""
        await self._models.reload({"lora": _lines(chosen)})
        if model := self._slot.model:
            await self._know(model)
            await self._keep(model, chosen)
            self._met = self._known

    async def _correct(self, chosen: Weighted) -> None:
        """A load that was needed for others saved them: they would come back with the next one."""
        if not self.able.more and self.able.own:
            try:
                await self._models.keep({"lora": _lines(chosen)})
            except Refused as error:
                self._ext.log.warning("%s", error)

    async def _meet(self, model: Model) -> None:
        before = self._kept
        await self._know(model)
        if model is not self._slot.model:
            return  # It is gone already, and what it could do is not known.
        if self._asked:
            return await self._apply_asked(model)
        same = before.model == model.info.path and before.model
        had = [each for each in before.own if self._shelf.has(each[0])]
        has = [each for each in self.able.own if self._shelf.has(each[0])]
        if same and had == has:
            return await self._restore(model, before.adapters)
        await self._keep(model, self.able.own)
        if before.adapters and not same:
            self._say(
                f"{_listed(before.adapters)} belonged to {before.name} and "
                f"{_are(before.adapters)} no longer applied."
            )

    async def _apply_asked(self, model: Model) -> None:
        """Apply what the command line names, which is for the first model alone."""
        await self._keep(model, self.able.own)
        try:
            await self._apply([weighted(line) for line in self._asked], reload=True)
        except (Refused, LoadFailed, NoModel) as error:
            if self._taken_away(error):
                return
            self._say(f"--lora: {error}")
        self._asked = ()

    async def _restore(self, model: Model, adapters: Weighted) -> None:
        """Apply what was applied to this model before, as far as that is still possible."""
        adapters = self._there(adapters)
        await self._keep(model, adapters)
        if not adapters:
            return
        try:
            for name, _ in adapters:
                await self._check(name)
            if not self._without_reload(adapters):
                raise Refused(f"{model.info.name} takes adapters only while it is loaded.")
            await self._read(model, adapters)
        except Refused as error:
            if self._taken_away(error):
                return  # They wait for the next one.
            await self._keep(model, self.able.own)
            self._say(f"{_listed(adapters)} cannot be applied again. {error}")

    def _there(self, adapters: Weighted) -> Weighted:
        """Those of them that are in the folder; the others are told."""
        there = tuple(each for each in adapters if self._shelf.has(each[0]))
        if gone := tuple(each for each in adapters if each not in there):
            folder = self._ext.loras.name
            self._say(f"{_listed(gone)} {_are(gone)} not below {folder}/ and no longer applied.")
        return there

    def _taken_away(self, error: Exception) -> bool:
        """Whether somebody took the model away meanwhile. Where its engine crashed, adapters that
        it was reading may be why: with them it might crash at each load."""
        crashed = str(error) in self._slot.state.error
        return isinstance(error.__cause__, WorkerDied) and not crashed

    async def _know(self, model: Model) -> None:
        """What the model that came can do."""
        self._known = model.died
        await self._ext.thread(self._shelf.look)
        self.able = await engine.able(model, self._shelf)
        own = (self._shelf.find(name) for name, _ in self.able.own)
        self._as_read = {each.name: each.stamp for each in own if each}
        path = model.info.path
        self.base = await self._ext.thread(base_of, Path(path)) if path else None

    async def _check(self, name: str) -> None:
        adapter = self._shelf.find(name)
        if not adapter:
            there = [each.name for each in self._shelf.adapters if not each.trouble]
            raise Refused(
                f"There is no adapter “{name}” below {self._ext.loras.name}/. "
                + (f"There: {', '.join(there[:20])}." if there else "Put one there.")
            )
        if why := await self._ext.thread(misfit, adapter, self.base):
            raise Refused(why)

    def _named(self, wish: Sequence[tuple[str, float]]) -> Weighted:
        """By the names that the list has, in the form that the model takes where a folder holds
        both; the last weight of a name counts."""
        chosen: dict[str, float] = {}
        for name, weight in wish:
            if not (math.isfinite(weight) and abs(weight) <= HEAVIEST):
                raise Refused(f"The weight of {name} must be a number up to {HEAVIEST:g}.")
            adapter = self._shelf.find(name)
            if adapter and self.base is not None:
                adapter = self._shelf.in_form(adapter, form_for(self.base))
            chosen[adapter.name if adapter else name] = weight
        if len(chosen) > MOST:
            raise Refused(f"{len(chosen)} adapters are too many. Apply at most {MOST}.")
        return tuple(chosen.items())

    def _without_reload(self, chosen: Weighted) -> bool:
        own, names = {name for name, _ in self.able.own}, {name for name, _ in chosen}
        return self.able.more or (names <= own and not any(map(self._changed, names)))

    def _takes_at_load(self) -> bool:
        """Whether the loader of what is loaded has an option for adapters."""
        info = self._slot.state.info
        for loader in self._ext.get(LOADERS):
            if info and info.loader in (loader.id, loader.label):
                return "lora" in loader.Options.__struct_fields__
        return False

    async def _read(self, model: Model, chosen: Weighted) -> None:
        """Let the engine read them now: what it has to say is told here, not at the next reply."""
        found = [each for name, _ in chosen if (each := self._shelf.find(name))]
        for each in found:
            if self._changed(each.name):
                raise Refused(
                    f"{each.name} was changed since the model read it. Load the model again to "
                    "use it as it is now."
                )
        if self.able.asked and found:
            self._reading = chosen
            try:
                await engine.read(model, [str(each.path) for each in found])
            finally:
                self._reading = ()
        self._as_read |= {each.name: each.stamp for each in found}

    def _changed(self, name: str) -> bool:
        """Whether another file is there than the engine has read."""
        found, before = self._shelf.find(name), self._as_read.get(name)
        return bool(found and before and found.stamp != before)

    async def _keep(self, model: Model, adapters: Weighted) -> None:
        kept = Kept(model.info.path, model.info.name, adapters, self.able.own)
        if kept != self._kept:
            self._kept = kept
            try:
                await self._ext.thread(keep, self._file, kept)
            except OSError as error:  # It counts all the same, until Spindle ends.
                self._say(f"What is applied cannot be kept for the next start: {error}.")

    def _say(self, sentence: str) -> None:
        self._ext.log.warning("%s", sentence)
        self._ext.tell(sentence, Everyone())


def weighted(line: str) -> tuple[str, float]:
    """An adapter and its weight, of `style=0.5`; a name alone has the weight 1."""
    name, equals, weight = line.rpartition("=")
    try:
        return (name.strip(), float(weight)) if equals else (line.strip(), 1.0)
    except ValueError:
        return line.strip(), 1.0


def _lines(adapters: Weighted) -> list[str]:
    """As the option `lora` has them."""
    return [f"{name} = {weight:g}" for name, weight in adapters]


def _listed(adapters: Weighted) -> str:
    return ", ".join(name for name, _ in adapters)


def _are(adapters: Weighted) -> str:
    return "is" if len(adapters) == 1 else "are"
