"""GET /v1/models: what there is, the loaded one first."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Programs, json, no_such_model
from extensions.models.api import Models
from kernel.api import ModelInfo


class Value(msgspec.Struct, frozen=True):
    """As llama.cpp's router tells it, which Open WebUI reads."""

    value: Literal["loaded", "loading", "unloaded", "sleeping"]


class Meta(msgspec.Struct, frozen=True):
    """More of the loaded model, by llama.cpp's names."""

    n_vocab: int
    n_ctx_train: int | msgspec.UnsetType = msgspec.UNSET
    """What the model's own file says, where it lies below models/ and does."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "user"
    status: Value
    context_length: int | None = None
    max_model_len: int | None = None
    meta: Meta | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    object: Literal["list"] = "list"
    data: Sequence[Model]


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, as programs of 2023 ask for it."""

    id: str
    object: Literal["engine"] = "engine"
    owner: str = "user"
    ready: bool


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    object: Literal["list"] = "list"
    data: Sequence[Engine]


class Catalogue:
    """What is listed; nothing of it asks an engine."""

    def __init__(self, programs: Programs, models: Models) -> None:
        self._programs, self._models = programs, models
        self._trained = ("", 0)
        """A model's path, and the context it was trained with."""

    async def meet(self) -> None:
        """Read of the model that was loaded what no list has the time to."""
        if not self._programs.info():
            return
        await self._models.look()
        if file := self._models.loaded():
            described = await self._models.describe(file.name)
            self._trained = str(file.path), described.context_length if described else 0

    async def listed(self, call: Call) -> Response:
        await self._models.look()
        return json(Listed(data=self.all()))

    async def engines(self, call: Call) -> Response:
        await self._models.look()
        ready = ("loaded", "sleeping")
        every = [Engine(id=each.id, ready=each.status.value in ready) for each in self.all()]
        return json(Engines(data=every))

    async def one(self, call: Call) -> Response:
        id = str(call.path["id"])
        await self._models.look()
        for model in self.all():
            if model.id == id:
                return json(model)
        raise no_such_model(id)

    def all(self) -> list[Model]:
        info, loading = self._programs.info(), self._models.loading()
        found = [self.loaded(info)] if info else []
        for name, file in sorted(self._models.names.items()):
            if not (info and str(file.path) == info.path):
                state = "loading" if file == loading else "unloaded"
                found.append(Model(id=name, status=Value(state)))
        return found

    def loaded(self, info: ModelInfo) -> Model:
        """The one that is there, or that comes when it is asked."""
        length = info.context_length or None
        path, trained = self._trained
        known = trained if trained and path == info.path else msgspec.UNSET
        return Model(
            id=self._models.called(info),
            status=Value("sleeping" if self._programs.resting() else "loaded"),
            context_length=length,
            max_model_len=length,
            meta=Meta(n_vocab=info.vocabulary_size, n_ctx_train=known),
        )
