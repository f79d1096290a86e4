"""What is saved of models, in files beside them that a person may edit.

`config-user.yaml` is a pattern of names and below it a loader, its options and what belongs to
the model; `config.yaml` is the older, shipped one of text-generation-webui. Later entries win.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from extensions.engine_kit.api import Unsupported
from kernel.api import Refused, write

from .entries import Pair, pairs, put, text_of
from .matching import Matches, matcher
from .tree import PART

OURS, THEIRS = "config-user.yaml", "config.yaml"
PATIENCE = 2.0
"""Seconds for the patterns of a file, and for a name that is looked for among them."""
HEAD = """\
# How models are loaded: a pattern of file names, and below it a loader and its options.
# Later entries win. What the page saves is below the name of the file with a "$".
"""


class Entry(NamedTuple):
    """A pattern, whom it means, and what is said of those."""

    pattern: str
    matches: Matches
    says: Mapping[str, Any]


class Saved:
    """Both files; what they said last is kept in memory. `look` and `keep` block."""

    def __init__(self, folder: Path) -> None:
        self.trouble: tuple[str, ...] = ()
        """Sentences about what cannot be read or is left out."""
        self._folder = folder
        self._stamps: object = None
        self._entries: dict[str, list[Entry]] = {}
        self._found: dict[tuple[str, str], list[Entry]] = {}
        self._alone: dict[str, bool] = {}
        """Whether a file is the only model of its folder, by the file's name."""

    def look(self) -> bool:
        """Read the files again where they changed; says whether they did."""
        self._alone = {}
        stamps = [_stamp(self._folder / name) for name in (THEIRS, OURS)]
        if stamps == self._stamps:
            return False
        troubles, entries = list[str](), dict[str, list[Entry]]()
        for name in (THEIRS, OURS):
            try:
                entries[name] = _usable(pairs(text_of(self._folder / name)), name, troubles)
            except ValueError as error:
                troubles.append(f"{name}: {error}. Correct it; until then it says nothing.")
        self._entries, self._found, self._stamps = entries, {}, stamps
        self.trouble = tuple(troubles)
        return True

    def of(self, name: str, file: str = "", *, own: bool = True) -> list[Mapping[str, Any]]:
        """All that is said of a model, the last the strongest; by one of the files or both, and
        with or without what was saved for its very name. What is said of a folder means the one
        GGUF model in it, too: it was listed so in text-generation-webui."""
        files = (file,) if file else (THEIRS, OURS)
        folder = base(name.rpartition("/")[0])
        names = [folder, base(name)] if folder and self._is_alone(name) else [base(name)]
        found = [entry for each in files for one in names for entry in self._matching(each, one)]
        mine = key(name)
        return [entry.says for entry in found if own or entry.pattern != mine]

    def own(self, name: str) -> Mapping[str, Any] | None:
        """What was saved for its very name."""
        mine = key(name)
        found = [entry.says for entry in self._entries.get(OURS, ()) if entry.pattern == mine]
        return found[-1] if found else None

    def keep(self, name: str, says: Mapping[str, Any] | None) -> None:
        """Save this for its very name, or nothing any more; all else in the file stays, comments
        too. Raises Refused where that cannot be."""
        for _ in range(5):
            try:
                self._put(key(name), says)
            except InterruptedError:  # An editor was faster.
                continue
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                raise Refused(
                    f"How {base(name)} is loaded was not saved: {OURS} in {self._folder} cannot be "
                    f"changed ({why}). Correct it, then save again."
                ) from None
            self.look()
            return
        raise Refused(f"{OURS} keeps changing. Save again.")

    # --- inside ------------------------------------------------------------------------

    def _matching(self, file: str, name: str) -> list[Entry]:
        if (file, name) not in self._found:
            until, found = time.monotonic() + PATIENCE, list[Entry]()
            for entry in self._entries.get(file, ()):
                if time.monotonic() < until and entry.matches(name):
                    found.append(entry)
            self._found[file, name] = found
        return self._found[file, name]

    def _is_alone(self, name: str) -> bool:
        known = self._alone  # Another thread may look meanwhile.
        if name not in known:
            known[name] = name.endswith(".gguf") and alone(self._folder / name)
        return known[name]

    def _put(self, mine: str, says: Mapping[str, Any] | None) -> None:
        path = self._folder / OURS
        stamp, text = _stamp(path), text_of(path)
        names = [pair.name for pair in pairs(text)]
        below = names[names.index(mine) + 1 :] if mine in names else []
        last = any(_safely(name)(mine[:-1]) for name in below)  # They would win.
        said = put(text or HEAD, mine, says, last=last)
        write(path, said.encode(), still=lambda: _stamp(path) == stamp)


def base(name: str) -> str:
    """The last part of a model's name, by which it is meant."""
    return name.rstrip("/").rpartition("/")[2]


def alone(path: Path) -> bool:
    """Whether a GGUF file is the only model of its folder, perhaps in parts, or with what sees."""
    beside = path.parent.glob("*.gguf")
    names = {PART.sub(r"\1", each.name) for each in beside if "mmproj" not in each.name.lower()}
    return names == {PART.sub(r"\1", path.name)}


def key(name: str) -> str:
    """The pattern under which a model's very own entry stands."""
    return f"{base(name)}$"


def _stamp(path: Path) -> object:
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_mtime_ns, now.st_size, now.st_ino


def _usable(found: list[Pair], file: str, troubles: list[str]) -> list[Entry]:
    """The entries that can be used; sentences for those that cannot."""
    until, usable = time.monotonic() + PATIENCE, list[Entry]()
    for pattern, says, *_ in found:
        if time.monotonic() > until:
            troubles.append(
                f"{file}: it has too many patterns; from “{pattern[:60]}” on it is unread."
            )
            break
        if not isinstance(says, dict):
            continue
        try:
            plain = {str(k): v for k, v in cast(dict[Any, Any], says).items() if _plain(v)}
            usable.append(Entry(pattern, matcher(pattern), plain))
        except Unsupported as why:
            troubles.append(f"{file}: the pattern “{pattern[:60]}” is left out, for {why}.")
    return usable


def _plain(value: Any) -> bool:
    """Whether an option can be that: a word, a number, a switch, or a list of them."""
    if isinstance(value, list):
        return all(isinstance(each, str | int | float) for each in cast(list[Any], value))
    return value is None or isinstance(value, str | int | float)


def _safely(pattern: str) -> Matches:
    try:
        return matcher(pattern)
    except Unsupported:
        return lambda name: False
