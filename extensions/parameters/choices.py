"""What is chosen now, what that amounts to with the loaded model, and every way to change it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
from msgspec import UNSET, structs

from kernel.api import Extension, ModelInfo, Refused, Sampling, check

from . import dice, presets, texts, tokens
from .presets import HELD, Preset
from .shelf import Shelf
from .state import Chosen, Keeper
from .texts import KNOWN

LONGEST = 2048
"""Tokens of a reply where nothing else is said."""
HERE = ("truncation_length", "max_tokens_second")
"""What is honoured without the model: by the extension Prompts, and by pace.py."""
Says = Callable[[ModelInfo], str]
PHRASES = "banned_strings"
"""What loaders call phrases that never come."""
TYPED = {"custom_token_bans": "bans", "logit_bias": "biases"}
"""Parameters that are kept as they were typed, for each model to make numbers of."""


class Choices:
    """The one place where choices change; whoever changes one tells the pages after that."""

    def __init__(self, ext: Extension[Any], keeper: Keeper, shelf: Shelf) -> None:
        self._ext, self._keeper, self.shelf = ext, keeper, shelf
        self.beside: Callable[[], Iterable[Says]] = tuple
        """Who else says which preset comes with a model."""
        self.preset = Preset("")
        """The chosen one, as its file was when it was chosen."""

    @property
    def now(self) -> Chosen:
        return self._keeper.now

    @property
    def info(self) -> ModelInfo | None:
        model = self._ext.slot().model
        return model.info if model else None

    async def remember(self) -> None:
        """Read the file of the preset that is chosen: after a restart, or where it is another."""
        if self.now.preset:
            with suppress(Refused):
                self.preset = await self.read(self.now.preset)

    # --- what it amounts to --------------------------------------------------------------

    def honoured(self, name: str) -> bool:
        """Whether the loaded model takes a parameter; without a model all are thought to be."""
        return name in HERE or self.info is None or name in self.info.samplers

    def rest(self, name: str) -> Any:
        """What applies where nothing is said."""
        own = getattr(self.info.defaults, name) if self.info else UNSET
        if own is not UNSET and not (self.now.neutral and name in HELD):
            return own
        if name == "max_new_tokens":
            return LONGEST
        return KNOWN[name].neutral

    def applies(self, name: str) -> Any:
        """What applies: what is said, or the rest."""
        said = getattr(self.now.sampling, name)
        return self.rest(name) if said is UNSET else said

    def given(self, name: str) -> Any:
        """What it goes back to: what the preset says of it."""
        return getattr(self.preset.sampling, name) if name in HELD else UNSET

    def changed(self, name: str) -> bool:
        """Whether it differs from what the preset, or no choice at all, would have it be."""
        if name in TYPED:
            return bool(getattr(self.now, TYPED[name]))
        return getattr(self.now.sampling, name) != self.given(name)

    def inactive(self, name: str) -> bool:
        """Whether it does nothing, as what it tunes is off."""
        masters = KNOWN[name].tunes.split()
        return bool(masters) and all(self.applies(m) == KNOWN[m].neutral for m in masters)

    def different(self) -> dict[str, Any]:
        """What of a preset's parameters is not neutral, as it applies."""
        applying = Sampling(**{name: self.applies(name) for name in HELD})
        return presets.said(applying)

    def grammar(self) -> str:
        """What replies must keep to: a grammar, a JSON schema, or nothing."""
        now = self.now
        return {"grammar": now.grammar, "schema": now.schema}.get(now.constraint, "").strip()

    def kinds(self) -> list[type[msgspec.Struct]]:
        """What the loader of the model adds."""
        return self._ext.slot().samplers()

    def heeds(self) -> bool:
        """Whether the model takes what its loader adds: not each engine does."""
        return self.info is not None and "extra" in self.info.samplers

    def added(self) -> dict[str, Any]:
        """The loader's own that are good and say something, as plain data."""
        said: dict[str, Any] = {}
        for kind in self.kinds():
            mine = {k: v for k, v in self.now.extra.items() if k in kind.__struct_fields__}
            (good, bad), standard = check(kind, mine), kind()
            if "" not in bad:  # Else it is wrong as a whole.
                said |= {k: v for k, v in good.items() if v != getattr(standard, k)}
        return msgspec.to_builtins(said)

    def strange(self) -> list[str]:
        """The names of what another loader or engine added, and what is loaded does not take."""
        kinds = self.kinds() if self.heeds() else []
        known = {name for kind in kinds for name in kind.__struct_fields__}
        return [name for name, value in self.now.extra.items() if value and name not in known]

    # --- changing it ---------------------------------------------------------------------

    async def set(self, name: str, typed: Any) -> None:
        """Take what was typed; empty takes it back. Raises Refused with a sentence."""
        typed = typed[-1] if isinstance(typed, list) and typed else typed
        if name in TYPED:
            text = tokens.checked(str(typed)[:100_000].strip())
            return await self._keeper.change(**{TYPED[name]: text})
        if name not in KNOWN:
            return await self._set_added(name, typed)
        await self._say(name, texts.read(name, typed))

    def bans_phrases(self) -> bool:
        """Whether the loader goes back where a phrase began."""
        kinds = self.kinds() if self.heeds() else []
        return any(PHRASES in kind.__struct_fields__ for kind in kinds)

    async def ban(self, line: str) -> None:
        """Ban what a line of the bans says as a phrase, and take the line out of the bans."""
        lines = self.now.bans.splitlines()
        if line not in lines:
            raise Refused("That line was changed meanwhile. Look at the bans again.")
        there = self.added().get(PHRASES, ())
        await self._set_added(PHRASES, [*dict.fromkeys([*there, tokens.phrase(line)])])
        await self._keeper.change(bans="\n".join(each for each in lines if each != line))

    async def reset(self, name: str) -> None:
        """Back to what the preset says, or to what nobody says."""
        if name in TYPED:
            await self._keeper.change(**{TYPED[name]: ""})
        elif name in KNOWN:
            await self._say(name, self.given(name))
        else:
            extra = {k: v for k, v in self.now.extra.items() if k != name}
            await self._keeper.change(extra=extra)

    async def move(self, name: str, to: int) -> None:
        """Give a sampler another place in the order."""
        order = [each for each in self.order() if each != name]
        if name not in texts.ORDER:
            raise Refused(f"There is no sampler called {name}. Reload the page.")
        order.insert(max(0, to), name)
        await self._say("sampler_priority", tuple(order))

    def order(self) -> list[str]:
        """All samplers, in the order that applies; what it does not name works first."""
        wished: tuple[str, ...] = self.applies("sampler_priority")
        return [name for name in texts.ORDER if name not in wished] + list(wished)

    async def choose(self, name: str, **more: Any) -> tuple[str, ...]:
        """A preset, or without a name the model's own, and `more` of what is `Chosen` with it;
        answers what of the file cannot be."""
        preset = await self.read(name) if name else Preset("")
        self.preset = preset
        bans = preset.sampling.custom_token_bans
        sampling = structs.replace(preset.sampling, custom_token_bans=UNSET, logit_bias=UNSET)
        more = {**({"bans": "\n".join(map(str, bans))} if bans else {}), **more}
        sampling = presets.applied(self.now.sampling, sampling)
        await self._keeper.change(preset=name, neutral=bool(name), sampling=sampling, **more)
        return preset.problems

    async def neutralise(self) -> None:
        """Everything that presets hold changes nothing, whatever the model's files say."""
        await self._free(Sampling())

    async def roll(self, random: Random) -> None:
        """A random preset of what the loader honours."""
        info = self.info
        await self._free(dice.thrown(info.samplers if info else tuple(KNOWN), random))

    async def save(self, name: str) -> str:
        """Write what applies as the preset of that name, and choose it; answers the number of the
        former one in the trash, or "" where there was none."""
        values, others = self.different(), dict[str, Any]()
        if name in await self._ext.thread(self.shelf.own):
            before = await self.read(name)
            others = {k: v for k, v in before.others.items() if k not in HELD}
            values |= self._beside(before.sampling)
        text = presets.dump({**values, **others})
        number = await self._ext.thread(self.shelf.save, name, text)
        await self.choose(name, bans=self.now.bans)
        return number

    async def read(self, name: str) -> Preset:
        text = await self._ext.thread(self.shelf.text, name)
        return await self._ext.thread(presets.parse, name, text)

    async def prefer(self, model: str, preset: str) -> None:
        """A preset that comes with a model, or with all (no name); none takes that back."""
        if not model:
            return await self._keeper.change(standard=preset)
        others = {k: v for k, v in self.now.standards.items() if k != model}
        await self._keeper.change(standards={**others, **({model: preset} if preset else {})})

    async def met(self, info: ModelInfo) -> str:
        """Another model is there: its preset is chosen, if it has one; answers which."""
        if info.name == self.now.model:
            return ""
        said = (says(info) for says in self.beside())
        preset = self.now.standards.get(info.name) or next(filter(None, said), self.now.standard)
        if preset:
            await self.choose(preset, model=info.name)
        else:
            await self._keeper.change(model=info.name)
        return preset

    # --- inside --------------------------------------------------------------------------

    def _beside(self, before: Sampling) -> dict[str, Any]:
        """What applies of all that a preset's file said beside what presets hold."""
        said = presets.beside(before)
        values = {name: self.applies(name) for name in said if name not in TYPED}
        numbers = tokens.ids_of(self.now.bans).split()
        if "custom_token_bans" in said and all(each.isdecimal() for each in numbers):
            said["custom_token_bans"] = [int(each) for each in numbers]
        return {k: v for k, v in {**said, **values}.items() if v is not None}

    async def _free(self, sampling: Sampling) -> None:
        self.preset = Preset("")
        sampling = presets.applied(self.now.sampling, sampling)
        await self._keeper.change(preset="", neutral=True, sampling=sampling)

    async def _say(self, name: str, value: Any) -> None:
        sampling = structs.replace(self.now.sampling, **{name: value})
        await self._keeper.change(sampling=sampling)

    async def _set_added(self, name: str, typed: Any) -> None:
        kind = next((kind for kind in self.kinds() if name in kind.__struct_fields__), None)
        if not kind:
            raise Refused(f"There is no parameter {name} any more. Reload the page.")
        good, bad = check(kind, {name: typed})
        if bad:
            raise Refused(" ".join(bad.values()))
        extra = {**self.now.extra, **msgspec.to_builtins(good)}
        await self._keeper.change(extra=extra)
