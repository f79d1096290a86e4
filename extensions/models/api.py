"""What other extensions may know of the models that are there, and do with them."""

from collections.abc import Mapping, Sequence
from typing import Any

from kernel.api import Extension, Point

from .files import ModelFile
from .loading import Loading
from .views import Views

__all__ = ["MODELS", "ModelFile", "Models", "shown"]


class Models:
    """The models below models/, as the picker shows them."""

    def __init__(self, ext: Extension[Any], loading: Loading, views: Views) -> None:
        self._ext, self._loading, self._views = ext, loading, views

    @property
    def files(self) -> Sequence[ModelFile]:
        """All that a running loader takes, by name; as of some seconds ago at most."""
        return self._views.files

    def find(self, name: str) -> ModelFile | None:
        """A model by its name below models/, or by its name without folder and ending, in which
        programs may name it."""
        own = self._views.file(name)
        return own or next((file for file in self.files if shown(file) == name), None)

    def loaded(self) -> ModelFile | None:
        """The file of the chat slot's model, if it lies below models/."""
        model = self._ext.slot().model
        path = model.info.path if model else ""
        return next((file for file in self.files if str(file.path) == path), None)

    def is_loaded(self, name: str) -> bool:
        """Whether this is a name of the chat slot's model: its own, or its file's in any form."""
        model, file = self._ext.slot().model, self.loaded()
        return bool(model) and name in (model.info.name, file and file.name, file and shown(file))

    async def load(self, name: str, loader: str = "", options: Mapping[str, Any] = {}) -> None:
        """Load one as the picker does. Raises Refused where there is none, LoadFailed when it does
        not load."""
        await self._loading.load(name, loader, options)

    async def unload(self) -> None:
        """Empty the chat slot."""
        await self._ext.slot().unload("The model was unloaded.")


def shown(file: ModelFile) -> str:
    """A model's name without its folder and its ending."""
    return file.path.name if file.path.is_dir() else file.path.stem


MODELS: Point[Models] = Point("model_files", "The models below models/, and how they are loaded.")
"""Contributed by the extension models."""
