"""What other extensions may know of the models that are there, and do with them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kernel.api import Extension, LoadFailed, ModelInfo, Point, Refused

from .beside import BESIDE, Beside
from .catalogue import Catalogue
from .described import Described, Suited
from .files import ModelFile
from .loading import Loading
from .rest import Rest
from .views import Views
from .watching import watching

__all__ = [
    "BESIDE", "MODELS", "Beside", "Described", "ModelFile", "Models", "Suited", "shown", "watching",
]  # fmt: skip


class Models:
    """The models below models/, as the picker shows them."""

    def __init__(
        self, ext: Extension[Any], loading: Loading, views: Views, catalogue: Catalogue, rest: Rest
    ) -> None:
        self._ext, self._loading, self._views = ext, loading, views
        self._catalogue, self._rest = catalogue, rest
        self._names = dict[str, ModelFile]()
        self._named: Sequence[ModelFile] = ()
        """The files of those names."""
        loading.called = self._called_so

    @property
    def files(self) -> Sequence[ModelFile]:
        """All that a running loader takes, by name; as of the last `look`. What is known to be no
        model, as an adapter, is left out."""
        return [file for file in self._views.files if self._is_model(file)]

    @property
    def names(self) -> Mapping[str, ModelFile]:
        """What programs call the models: without folder and ending, where that is one's own name.
        A file goes before a folder of the same name."""
        if (files := self.files) != self._named:  # Else nobody asks the disk for each of them.
            self._names, self._named = named(files), files
        return self._names

    @property
    def all(self) -> Sequence[ModelFile]:
        """`files`, and what lies below models/ and is loaded by nothing as it is."""
        return self._views.all

    async def describe(self, name: str) -> Described | None:
        """What the headers of a model of `all` say, by its name below models/: kept, or read now
        in a process of its own; None where there is no such model."""
        if not any(file.name == name for file in self.all):
            await self.look()
        file = next((file for file in self.all if file.name == name), None)
        return await self._catalogue.describe(file) if file else None

    async def look(self) -> None:
        """Have `files` and `names` as the folder is now; a question to each file, no search, where
        nothing changed."""
        await self._views.glance()

    async def find(self, name: str) -> ModelFile | None:
        """A model by what programs call it, by its name below models/, or by that of the folder in
        which it is alone."""
        if not self._known(name):
            await self.look()
        return self._known(name)

    def loaded(self) -> ModelFile | None:
        """The file of the chat slot's model, if it lies below models/."""
        model = self._ext.slot().model
        path = model.info.path if model else ""
        return next((file for file in self.files if str(file.path) == path), None)

    @property
    def last(self) -> str:
        """The model that is loaded, or was loaded last while Models runs, by its name below
        models/; "" where none was yet."""
        return self._loading.there

    def is_loaded(self, name: str) -> bool:
        """Whether the chat slot's model is meant: by its own name, or one that `find` takes."""
        model, file = self._ext.slot().model, self.loaded()
        if file and (meant := self._known(name)):  # Its own name may be that of another file.
            return meant.path == file.path
        return bool(model) and name == model.info.name

    def loading(self) -> ModelFile | None:
        """The file that is being loaded, if one below models/ is."""
        loading = self._ext.slot().state.state == "loading"
        return self._views.file(self._loading.last.name) if loading else None

    def called(self, info: ModelInfo) -> str:
        """What programs call a loaded model: as in `names`, or its own name where it lies
        elsewhere."""
        named = (name for name, file in self.names.items() if str(file.path) == info.path)
        return next(named, info.name)

    async def load(self, name: str, loader: str = "", options: Mapping[str, Any] = {}) -> None:
        """Load one as the picker does, or wait for a load of it that is under way. Raises Refused
        where there is none, LoadFailed when it does not load."""
        if loader or options or not await self._loading.joined(name):
            await self._loading.load(name, loader, options)

    async def reload(self, changes: Mapping[str, Any]) -> None:
        """Load the chat slot's model again, with some of its options changed; they stay with it.
        Raises Refused where it does not lie below models/, else as `load`."""
        if not (file := self.loaded()):
            raise Refused("The loaded model is not below models/. Load it by hand.")
        await self._loading.again(file.name, changes)

    async def keep(self, changes: Mapping[str, Any]) -> None:
        """Correct options that the chat slot's model was loaded with, or has saved, for its next
        load; others are left. Raises Refused where that cannot be written."""
        if file := self.loaded():
            await self._loading.keep(file.name, changes)
            self._views.push_pickers()

    async def unload(self) -> None:
        """Empty the chat slot, unless a newer wish comes meanwhile; what rests comes back no
        more."""
        self._rest.forget()
        with suppress(LoadFailed):
            await self._ext.slot().unload("The model was unloaded.")

    def said(self, name: str, what: str) -> tuple[str, bool]:
        """What is saved with a model beside its options, such as its preset, and whether only the
        shipped config.yaml says so; empty if nothing is. By its file's or folder's name."""
        there = self.loaded()
        if there and there.path.name == name:
            name = there.name  # What is said of the folder that it is in counts, too.
        return self._loading.ways.said(name, what)

    def put(self, name: str, what: str, word: str) -> None:
        """Save such a thing with just this model; empty: nothing any more. Blocking; raises
        Refused."""
        self._loading.ways.put(name, what, word)

    def _is_model(self, file: ModelFile) -> bool:
        known = self._catalogue.of(file)
        return not known or known.role == "model"

    def _known(self, name: str) -> ModelFile | None:
        return self.names.get(name) or self._views.file(name) or self._in_folder(name)

    def _in_folder(self, name: str) -> ModelFile | None:
        inside = [file for file in self.files if file.name.startswith(f"{name}/")]
        return inside[0] if len(inside) == 1 else None

    def _called_so(self, name: str) -> str:
        """As `find`, also where no loader runs yet; the same name where there is none."""
        file = self._known(name) or named(self.all).get(name)
        return file.name if file else name


def named(files: Sequence[ModelFile]) -> dict[str, ModelFile]:
    """Names that tell these apart; blocking."""
    found: dict[str, ModelFile] = {}
    for file in sorted(files, key=lambda file: file.path.is_dir()):
        names = (shown(file), file.name, f"{file.name}/")
        found[next(name for name in names if name not in found)] = file
    return found


def shown(file: ModelFile) -> str:
    """A model's name without its folder and its ending."""
    return file.path.name if file.path.is_dir() else file.path.stem


MODELS: Point[Models] = Point("model_files", "The models below models/, and how they are loaded.")
"""Contributed by the extension models."""
