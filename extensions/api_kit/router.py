"""Models loaded and unloaded by their names, as the router of llama.cpp's server does it."""

import msgspec
from starlette.responses import Response

from .calls import Call
from .endpoints import Endpoint, json
from .loading import Shelf, load
from .problems import refused


class Named(msgspec.Struct):
    """A model, as llama.cpp's router names it."""

    model: str


class Success(msgspec.Struct):
    """That it was done."""

    success: bool = True


class ModelRouter:
    """The routes, which are an administrator's."""

    def __init__(self, models: Shelf) -> None:
        self._models = models

    def endpoints(self, at: str) -> tuple[Endpoint, ...]:
        """Below this address."""
        return (
            Endpoint(f"{at}/load", self.load, takes=Named, gives=Success, admin=True,
                     summary="Load a model, as llama.cpp's router does."),
            Endpoint(f"{at}/unload", self.unload, takes=Named, gives=Success, admin=True,
                     summary="Unload it."),
        )  # fmt: skip

    async def load(self, call: Call) -> Response:
        await load(self._models, call.read(Named).model)
        return json(Success())

    async def unload(self, call: Call) -> Response:
        name = call.read(Named).model
        if not self._models.is_loaded(name):
            says = f"model: {name} is not loaded. GET /v1/models tells what is."
            raise refused(says, "model", "model_not_loaded")
        await self._models.unload()
        return json(Success())
