"""How a model is loaded: with which loader and options, of all that was said about that."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kernel.api import LOADERS, UNSET, Extension, Loader, Sampling, check

from .files import takes
from .memory import Memory
from .saved import OURS, THEIRS, Saved

ALIASES = {"hf": "transformers", "llamacpppython": "llamacpp", "llamacpphfcreator": "llamacpphf"}
"""What loaders are called elsewhere, as `plain` has it."""


def plain(name: str) -> str:
    """A loader's name without what people write differently."""
    name = re.sub(r"[^a-z0-9]", "", name.casefold())
    return ALIASES.get(name, name)


NOTHING = (None, False, "", "0", "None", "none", "false")
"""Values at which an option asks for nothing; False is 0, too."""


class Ways:
    """Asks the files beside the models, the memory of before, and the command line."""

    def __init__(self, ext: Extension[Any], memory: Memory, saved: Saved) -> None:
        self._ext, self._memory, self.saved = ext, memory, saved
        self.best: Callable[[str], Sequence[str]] = lambda name: ()
        """The loaders that a model is for by its files, best first; set by the Model page."""

    def look(self, name: str) -> None:
        """Read what is saved, and find what of it means this model; blocking."""
        self.saved.look()
        self.saved.of(name)

    def named(self, name: str) -> Loader | None:
        """The running loader that people call so."""
        wanted = plain(name)
        for loader in self._ext.get(LOADERS) if wanted else ():
            if name == loader.id or wanted in (plain(loader.id), plain(loader.label)):
                return loader
        return None

    def asked(self, name: str, wish: str = "") -> Loader | None:
        """The one that was wished for, or is saved."""
        return self.named(wish) or self.named(self._said_loader(name))

    def loader(self, name: str, path: Path, wish: str = "") -> Loader | None:
        """The one that was wished for, or is saved, or the first that takes the model."""
        loader = self.asked(name, wish)
        if loader and (self.named(wish) or takes(loader, path)):
            return loader
        return next((loader for loader in self.running(name) if takes(loader, path)), None)

    def running(self, name: str) -> list[Loader]:
        """The loaders that run, those first that the model is for."""
        best = [*self.best(name)]
        loaders = self._ext.get(LOADERS)
        return sorted(loaders, key=lambda each: best.index(each.id) if each.id in best else 99)

    def own(self, name: str) -> bool:
        """Whether something is saved for this very model."""
        return self.saved.own(name) is not None or self._memory.choice(name) is not None

    def options(self, name: str, loader: Loader, *, start: bool = False) -> dict[str, Any]:
        """What is saved of a loader's options for a model; at the `start` what the command line
        says goes before it."""
        given: Mapping[str, Any] = getattr(loader, "given", {}) if start else {}
        return {**self._of(name, loader), **given}

    def gone(self, name: str, loader: Loader, beside: Sequence[str] = ()) -> list[str]:
        """Why some of what is saved counts no more, in sentences; `beside` is what other
        extensions read there."""
        sentences: dict[str, None] = {}
        for says in self._applying(name, loader):
            said = {field.replace("-", "_"): value for field, value in says.items()}
            _, bad = check(loader.Options, said)
            known = {info.name for info in msgspec.structs.fields(loader.Options)}
            modern: Any = getattr(loader.Options, "modern", None)
            if modern:
                known |= modern(said)[1].keys()
            for field, why in bad.items():
                if field in known:
                    sentences[why] = None
                elif field not in beside and said.get(field) not in NOTHING:
                    sentences[_unused(field)] = None
        return [*sentences]

    def keep(self, name: str, loader: Loader, options: Mapping[str, Any]) -> None:
        """Save how a model is loaded, where that is not what would be done anyway; what is not
        said has its default. Blocking; raises Refused."""
        defaults = msgspec.structs.asdict(loader.Options())
        before = {**defaults, **self._of(name, loader, own=False)}
        mine = {k: v for k, v in {**defaults, **options}.items() if v != before[k]}
        others = {
            k: v
            for k, v in (self.saved.own(name) or {}).items()
            if k != "loader" and not self._reads(loader, k, v)
        }
        first = next((each for each in self._ext.get(LOADERS) if self._takes(each, name)), None)
        other = loader is not first or self._said_loader(name, own=False) not in ("", loader.label)
        says = {**({"loader": loader.label} if mine or other else {}), **_yaml(mine), **others}
        if says != (self.saved.own(name) or {}):
            self.saved.keep(name, says or None)
        self._memory.forget(name)

    def said(self, name: str, what: str) -> tuple[str, bool]:
        """What else is saved with a model, such as its preset, and whether only the shipped file
        says so."""
        for file in (OURS, THEIRS):
            for says in reversed(self.saved.of(name, file)):
                if isinstance(word := says.get(what), str) and word:
                    return word, file == THEIRS
        return "", False

    def put(self, name: str, what: str, word: str) -> None:
        """Save such a thing with just this model, or nothing any more; blocking, raises
        Refused."""
        was, old = self.saved.own(name), self._memory.choice(name)
        says = dict(was or ({"loader": old.loader, **old.options} if old else {}))
        says = {k: v for k, v in says.items() if k != what} | ({what: word} if word else {})
        if says != (was or {}):
            self.saved.keep(name, says or None)
            self._memory.forget(name)

    def forget(self, name: str) -> Mapping[str, Any] | None:
        """Load it by default from now on; answers what was saved. Blocking; raises Refused."""
        was = self.saved.own(name)
        if was is None and (old := self._memory.choice(name)):
            was = {"loader": old.loader, **old.options}
        if self.saved.own(name) is not None:
            self.saved.keep(name, None)
        self._memory.forget(name)
        return was

    # --- inside ------------------------------------------------------------------------

    def _takes(self, loader: Loader, name: str) -> bool:
        return takes(loader, self._ext.models / name)

    def _said_loader(self, name: str, *, own: bool = True) -> str:
        said = [str(says["loader"]) for says in self._all(name, own=own) if says.get("loader")]
        known = [each for each in said if self.named(each)]
        return known[-1] if known else ""

    def _all(self, name: str, *, own: bool = True) -> list[Mapping[str, Any]]:
        found = self.saved.of(name, own=own)
        if own and self.saved.own(name) is None and (old := self._memory.choice(name)):
            found.append({"loader": old.loader, **old.options})
        return found

    def _applying(
        self, name: str, loader: Loader, *, own: bool = True
    ) -> Sequence[Mapping[str, Any]]:
        """What is said for this loader, or for none that is here."""
        found: list[Mapping[str, Any]] = []
        for says in self._all(name, own=own):
            if self.named(str(says.get("loader") or "")) in (None, loader):
                found.append({k: v for k, v in says.items() if k != "loader"})
        return found

    def _of(self, name: str, loader: Loader, *, own: bool = True) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for says in self._applying(name, loader, own=own):
            good, _ = check(loader.Options, says)
            options |= {k: v for k, v in good.items() if v is not UNSET}
        return options

    def _reads(self, loader: Loader, name: str, value: Any) -> bool:
        """Whether this is an option of the loader's, by whatever name it goes."""
        good, bad = check(loader.Options, {name: value})
        return bool(good) or not any("There is no setting" in why for why in bad.values())


def _unused(field: str) -> str:
    if field in Sampling.__struct_fields__:
        return (
            f"{field} is a parameter here. Set it in Parameters, and save it as a preset; that can "
            "come with the model."
        )
    return f"Nothing that is switched on uses {field}. It can be left out."


def _yaml(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as YAML has them."""
    said: dict[str, Any] = msgspec.to_builtins(dict(options))
    return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items()}
