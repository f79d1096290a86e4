"""settings.yaml: validated by section, watched, and written without losing anyone's words."""

import asyncio
import logging
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET, Struct, structs

from kernel.checks import SettingsError, check, unknown
from kernel.files import Copy, passing, stamp, write
from kernel.forms import Secret, describe
from kernel.remembered import Remembered
from kernel.secretfiles import SecretFiles
from kernel.sections import Own, differences, listed, strays
from kernel.yamltext import Malformed, Tree, arrange, at, load, put

S = TypeVar("S", bound=Struct)
Where = tuple[str, ...]

LARGEST = 256 << 10
BOM = b"\xef\xbb\xbf"
NO_LIST = "Below this name belongs a list of settings, each with its value."
NO_SECRET = "A secret does not belong in this file. Remove it and set it in Settings."
log = logging.getLogger(__name__)


class SettingsFile:
    """The user's file as it was when it could last be read; its extensions are in pipeline order.

    `problems` says what is wrong in it now, by "section.field"; "" is the file as a whole.
    """

    def __init__(self, path: Path, secrets: Path, memory: Remembered | None = None) -> None:
        self.path, self.problems = path, dict[str, str]()
        self._memory = memory or Remembered()
        self._secrets = SecretFiles(secrets)
        mark = zlib.crc32(str(path.resolve()).encode(errors="replace"))
        self._last, self._starts = Copy(secrets.with_name(f"settings-{mark:08x}.last")), True
        self._writing, self._lock = threading.Lock(), threading.RLock()
        """Who writes waits for the disk; who reads, as the event loop does, for no writer."""
        self._text, self._tree, self._stamp, self._style = "", Tree(), None, (b"", "\n")
        self._order: list[str] = []  # the extensions of the tree, as `rank` asks again and again
        self._kinds: dict[Where, type[Struct]] = {}
        self._raw: dict[Where, Tree] = {}  # the last good value of each field, as written
        self._good: dict[Where, Tree] = {}  # the same, converted
        self._news: set[str] = set()
        self.reload()
        self._starts = False

    def section(self, name: str, kind: type[S]) -> S:
        """A section of the kernel's; a bad field has its last good value, or its default."""
        return self._read((name,), kind)

    def extension(self, id: str, kind: type[S]) -> S:
        """The settings of an extension, on the same terms."""
        return self._read(("extensions", id), kind)

    def enabled(self, id: str, default: bool) -> bool:
        on = self._good.get(("extensions", id), {}).get("enabled", UNSET)
        return default if on is UNSET else on

    def variant(self, id: str, default: str = "") -> str:
        """Which build of its engine's environment the user chose for an extension, if any."""
        chosen = self._good.get(("extensions", id), {}).get("variant", UNSET)
        return default if chosen is UNSET else chosen

    def told(self, known: Collection[str]) -> dict[str, str]:
        """The problems, and that a section is of no extension that is known."""
        ids = [id for id in self._order if id not in known]
        return self.problems | {f"extensions.{i}": unknown(i, known, "extension") for i in ids}

    def rank(self, id: str) -> float:
        """Where an extension stands in the file; without a section, behind those that have one and
        come before it by name. Those of the same rank are in the order of their names."""
        if id in self._order:
            return self._order.index(id)
        return max((n for n, name in enumerate(self._order) if name < id), default=-1) + 0.5

    def reload(self) -> set[str]:
        """Read the file if it changed; name what did: "server", "extensions.tts", "order", or ""
        when the file as a whole became unreadable or readable again."""
        with self._lock:
            self._look()
            news, self._news = self._news, set()
        if self._stamp and "" not in self.problems:
            self._last.keep(self._text)  # Nobody who reads waits for this.
        return news

    async def watch(
        self, tell: Callable[[set[str]], Awaitable[None]], every: float = 0.12, calm: float = 0.08
    ) -> None:
        """Tell of what others change in the file, once it stayed as it is for the seconds of
        `calm`, until cancelled."""
        latest = self._stamp
        while True:
            await asyncio.sleep(every if latest == self._stamp else calm)
            previous, latest = latest, stamp(self.path)
            if latest != previous or (latest == self._stamp and not self._news):
                continue  # nothing new, or an editor that is still writing
            try:
                if news := await asyncio.to_thread(self.reload):
                    await tell(news)
            except Exception:
                log.exception("A change of %s could not be taken up", self.path.name)

    def update(self, values: Mapping[str, Any], *path: str) -> None:
        """Write what differs from now; UNSET, None and the default itself remove the entry.

        A `Secret` goes to a file of its own. On `SettingsError` nothing was written.
        """
        with self._writing:
            good, bad = self._check(path, {k: UNSET if v is None else v for k, v in values.items()})
            if bad:
                raise SettingsError(bad)
            kind = self._kinds.get(path)
            default = structs.asdict(kind()) if kind else {}
            now = default | self._good.get(path, {}) if kind else {}
            notes = {i.name: describe(i).help for i in structs.fields(kind)} if kind else {}
            hides = any(isinstance(value, Secret) for value in good.values())
            try:
                stored = secrets = self._secrets.read(path, must=hides)
            except OSError as error:
                raise self._unchanged(error) from error
            for name, value in [*good.items()]:
                if name in stored or isinstance(value, Secret):
                    text = good.pop(name).reveal() if isinstance(value, Secret) else ""
                    secrets = {k: v for k, v in {**secrets, name: text}.items() if v}
                elif value == now.get(name, self) and ".".join((*path, name)) not in self.problems:
                    del good[name]
                else:
                    reset = value is UNSET or value == default.get(name, self)
                    plain: Any = UNSET if reset else msgspec.to_builtins(value)
                    if isinstance(plain, tuple):  # YAML has lists
                        plain = list(cast(tuple[Any, ...], plain))
                    good[name] = plain

            def edit(text: str) -> str:
                for name, value in good.items():
                    text = put(text, (*path, name), value, notes.get(name, ""))
                return self._placed(text, path)

            before = self._order
            if secrets != stored:
                self._hide(path, secrets)
            try:
                self._edit(edit)
            except SettingsError:
                if secrets != stored:
                    self._hide(path, stored)
                raise
            with self._lock:
                self._news |= {"order"} if self._order != before else set()

    def reorder(self, ids: Sequence[str]) -> None:
        """Write the order of the extensions; those not named come after, as they were."""
        with self._writing:
            self._edit(lambda text: arrange(text, ["extensions"], ids))

    def _hide(self, path: Where, secrets: Mapping[str, str]) -> None:
        try:
            self._secrets.write(path, secrets)
        except OSError as error:
            raise SettingsError({"": f"A secret was not kept: {error.strerror}."}) from error

    def _placed(self, text: str, path: Where) -> str:
        """A section that is new comes to stand where its extension had its place without one."""
        there, id = self._order, path[-1]
        if path[0] == "extensions" and id not in there and text != self._text:
            with suppress(Malformed):
                return arrange(text, ["extensions"], sorted([*there, id], key=self.rank))
        return text

    def _look(self) -> None:
        old, self._stamp = self._stamp, stamp(self.path)
        if self._stamp in (old, None):  # a file that went keeps its say: it may be on its way back
            return
        try:
            if self.path.stat().st_size > LARGEST:
                raise Malformed(f"it is larger than {LARGEST >> 10} KB")
            data = self.path.read_bytes()
            text = data.removeprefix(BOM).decode().replace("\r\n", "\n")
            tree = load(text, self._memory)
        except (OSError, ValueError) as error:
            if passing(error):
                self._stamp = old  # It is read as soon as it can be.
                return
            why = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
            if self._starts:  # What it said before holds, as who needs a key.
                with suppress(Malformed):
                    self._adopt(text := self._last.read(), load(text))
            until = "nothing changes" if self._text or not self._starts else "all is as by default"
            sentence = f"{self.path.name}: {why}. Correct it; until then {until}."
            self._news |= {""} if self.problems.get("") != sentence else set()
            self.problems[""] = sentence
            return
        self._news |= differences(self._tree, tree) | ({""} & self.problems.keys())
        self._style = BOM[: 3 * data.startswith(BOM)], "\r\n" if b"\r\n" in data else "\n"
        self._adopt(text, tree)

    def _adopt(self, text: str, tree: Tree) -> None:
        self._text, self._tree, self._order = text, tree, listed(tree)
        self.problems = strays(tree)
        for path in self._kinds.keys() | {("extensions", id) for id in self._order}:
            self._take(path)

    def _edit(self, edit: Callable[[str], str]) -> None:
        """Change the newest text: what an editor wrote meanwhile stays."""
        for _ in range(9):
            if not (draft := self._draft(edit)):
                time.sleep(0.05)
                continue
            text, data, base = draft
            if text == self._text:
                return
            try:
                write(self.path, data, still=lambda base=base: stamp(self.path) == base)
            except InterruptedError:
                continue
            except (OSError, ValueError) as error:
                raise self._unchanged(error) from error
            self._written(data, text)
            return self._last.keep(text)
        raise SettingsError({"": f"{self.path.name} keeps changing. Try again."})

    def _draft(self, edit: Callable[[str], str]) -> tuple[str, bytes, object] | None:
        """The newest text, changed; its bytes; the state they follow. None: somebody writes."""
        with self._lock:
            before = self._stamp
            self._look()
            if before not in (None, self._stamp):
                return None
            if problem := self.problems.get(""):
                raise SettingsError({"": problem})
            try:
                text = edit(self._text)
            except ValueError as error:
                raise self._unchanged(error) from error
            bom, newline = self._style
            return text, bom + text.replace("\n", newline).encode(), self._stamp

    def _unchanged(self, error: Exception) -> SettingsError:
        why = getattr(error, "strerror", None) or error
        return SettingsError({"": f"{self.path.name} was not changed: {why}."})

    def _written(self, data: bytes, text: str) -> None:
        """Adopt what was written; what an editor has put in its place by now is read next."""
        tree = load(text)
        with self._lock:
            now = stamp(self.path)
            with suppress(OSError):
                now = now if self.path.read_bytes() == data else object()
            self._stamp = now
            self._adopt(text, tree)

    def _read(self, path: Where, kind: type[S]) -> S:
        with self._lock:
            self._kinds[path] = kind
            self._take(path)
            values = self._good[path] | {k: Secret(v) for k, v in self._secrets.read(path).items()}
            try:
                return kind(**{k: v for k, v in values.items() if k in kind.__struct_fields__})
            except Exception:
                del self._kinds[path]  # It cannot be made: nobody else is to fail at it.
                raise

    def _take(self, path: Where) -> None:
        """Validate one section; where a value is bad, the last good one stays."""
        name = ".".join(path)
        for key in [key for key in self.problems if f"{key}.".startswith(f"{name}.")]:
            del self.problems[key]
        raw: Any = at(self._tree, path) or {}
        tree = isinstance(raw, dict)
        good, bad = self._check(path, cast(Tree, raw)) if tree else (Tree(), {"": NO_LIST})
        bad |= {k: NO_SECRET for k, value in good.items() if isinstance(value, Secret)}
        last = self._raw.get(path, {})
        kept = {k: v for k, v in last.items() if k in bad or "" in bad}
        sure = {k: v for k, v in cast(Tree, raw).items() if k not in bad} if tree else Tree()
        mine = Own.__struct_fields__ if path[0] == "extensions" else ()
        kept |= {k: v for k, v in sure.items() if "" not in bad or k in mine}
        good = self._check(path, kept)[0] if bad else good
        self._raw[path] = kept
        self._good[path] = {k: v for k, v in good.items() if not isinstance(v, Secret)}
        self.problems |= {f"{name}.{key}".rstrip("."): why for key, why in bad.items()}

    def _check(self, path: Where, values: Mapping[str, Any]) -> tuple[Tree, dict[str, str]]:
        kind = self._kinds.get(path)  # Struct itself stands for one not yet imported
        mine = Own.__struct_fields__ if path[0] == "extensions" else ()
        own = {k: v for k, v in values.items() if k in mine}
        rest = {k: v for k, v in values.items() if k not in mine}
        good, bad = check(kind, rest, mine) if rest and kind not in (None, Struct) else (rest, {})
        also, wrong = check(Own, own) if own else (own, {})
        return good | also, bad | wrong
