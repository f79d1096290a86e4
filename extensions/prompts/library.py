"""Instruction templates: files of the data folder over those that come with Spindle."""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from kernel.api import ModelInfo, Refused, safe_path, write

from .naming import by_name
from .old_forms import as_jinja

ENDINGS = (".jinja", ".jinja2", ".yaml", ".yml")
"""What a template's file may end with; the first of them wins, and is what is written."""
LARGEST = 1 << 20
"""Bytes of a template's file."""
PLAIN = "Alpaca"
"""The template of models that say nothing of theirs."""
SHIPPED = Path(__file__).with_name("shipped")
TRASH = ".trash"
NONE = "None"
"""What text-generation-webui saves where no template was chosen."""

How = Literal["asked", "set", "saved", "own", "name", "guess"]
"""Why a template was chosen: by the conversation, for the model, beside the model, it is the
model's own, by the model's name, or since nothing else is known."""


class Chosen(NamedTuple):
    """The template of a turn; `source` is empty for the model's own."""

    name: str
    source: str
    how: How


class Beside(NamedTuple):
    """What is said of a model elsewhere; a `mild` word counts where it brings no template."""

    name: str
    mild: bool = False


Says = Callable[[ModelInfo], Beside | None]


class Listed(NamedTuple):
    """A template in the list; `yours` if it is a file of the data folder, perhaps in the place of
    a shipped one."""

    name: str
    yours: bool
    shipped: bool


class Library:
    """Reads templates when they are asked for: what is edited elsewhere counts at once."""

    def __init__(
        self,
        folder: Path,
        for_models: Callable[[], Mapping[str, str]],
        beside: Callable[[], Iterable[Says]] = tuple,
    ) -> None:
        self.folder, self._for_models, self._beside = folder, for_models, beside

    def listed(self) -> list[Listed]:
        yours = {file.stem for file in _files(self.folder)}
        shipped = {file.stem for file in _files(SHIPPED)}
        names = sorted(yours | shipped, key=str.casefold)
        return [Listed(name, name in yours, name in shipped) for name in names]

    def read(self, name: str) -> str:
        """A template as Jinja, whatever form its file has; raises Refused."""
        file = self._file(self.folder, name) or self._file(SHIPPED, name)
        if not file:
            says = f"There is no instruction template “{name}”. Choose another one."
            raise Refused(says, "template")
        try:
            if file.stat().st_size > LARGEST:
                raise Refused(f"{file.name} is larger than a template can be. Choose another one.")
            text = file.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{file.name} cannot be read ({error}). Choose another one.") from None
        return as_jinja(text, file.name) if file.suffix in (".yaml", ".yml") else text

    def save(self, name: str, source: str) -> str:
        """Keep a template as the user's own; answers the name that brings back another one that
        stood in its file, or "". Blocking."""
        if not source.strip():
            raise Refused("The template is empty. Write something, or delete it.")
        path, kept = _path(self.folder, name + ENDINGS[0]), ""
        former = self._file(self.folder, name)
        if former and former.read_bytes() != source.encode():
            kept = self._kept(former)
            shutil.copy2(former, self.folder / TRASH / kept)
        write(path, source.encode())
        if former and former != path:  # It would be back once the new one is deleted.
            former.unlink(missing_ok=True)
        return kept

    def delete(self, name: str) -> str:
        """Move the user's file to the trash; answers the name that brings it back."""
        file = self._file(self.folder, name)
        if not file:
            raise Refused(f"“{name}” came with Spindle and stays. Save another one under its name.")
        kept = self._kept(file)
        os.replace(file, self.folder / TRASH / kept)
        return kept

    def restore(self, kept: str, *, instead: bool = False) -> str:
        """Take a file back out of the trash, also `instead` of one of its name, which goes there;
        answers the template's name."""
        file = _path(self.folder / TRASH, kept)
        name = kept.partition(" ")[2]
        if not file.is_file() or not name:
            raise Refused("It is not in the trash any more.")
        template = Path(name).stem
        if self._file(self.folder, template):
            if not instead:
                raise Refused(f"There is another “{template}” by now. Delete that one first.")
            self.delete(template)
        os.replace(file, _path(self.folder, name))
        return template

    def chosen(self, name: str, model: ModelInfo | None) -> Chosen:
        """The template of that name; without one what the user chose for the model, what is saved
        beside it, what it brings, what its name says, or Alpaca."""
        if name:
            return Chosen(name, self.read(name), "asked")
        set_ = self._for_models().get(model.name, "") if model else ""
        if self.has(set_):
            return Chosen(set_, self.read(set_), "set")
        if model and (saved := self._saved(model)):
            return Chosen(saved, self.read(saved), "saved")
        if not model or model.chat_template:
            return Chosen("", "", "own")
        if named := by_name(model.name, model.path):
            return Chosen(named, self.read(named), "name")
        return Chosen(PLAIN, self.read(PLAIN), "guess")

    def missing(self, model: ModelInfo) -> str:
        """The template that is said of a model elsewhere and is not there, if it would count."""
        if self.has(self._for_models().get(model.name, "")) or self._saved(model):
            return ""
        return next((name for name in self._said(model) if name != NONE), "")

    def has(self, name: str) -> bool:
        """Whether there is a template of that name."""
        with suppress(Refused):
            return bool(name and (self._file(self.folder, name) or self._file(SHIPPED, name)))
        return False

    # --- inside ------------------------------------------------------------------------

    def _saved(self, model: ModelInfo) -> str:
        """What is said elsewhere, if that can be."""
        return next((name for name in self._said(model) if self.has(name)), "")

    def _said(self, model: ModelInfo) -> Iterator[str]:
        for says in self._beside():
            said = says(model)
            if said and said.name and not (said.mild and model.chat_template):
                yield said.name

    def _kept(self, file: Path) -> str:
        """A name for a file in the trash, which is there by then."""
        (self.folder / TRASH).mkdir(parents=True, exist_ok=True)
        return f"{time.time_ns()} {file.name}"

    def _file(self, folder: Path, name: str) -> Path | None:
        for ending in ENDINGS:
            path = _path(folder, name + ending)
            if path.is_file():
                return path
        return None


def _path(folder: Path, name: str) -> Path:
    try:
        return safe_path(folder, name)
    except ValueError as error:
        raise Refused(str(error)) from None


def _files(folder: Path) -> list[Path]:
    try:
        found = [file for file in folder.iterdir() if file.suffix in ENDINGS and file.is_file()]
    except OSError:
        return []
    return [file for file in found if not file.name.startswith(".")]
