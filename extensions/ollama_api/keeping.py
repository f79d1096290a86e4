"""Which model is loaded: named by a request, or not wanted any longer."""

import time
from collections.abc import Callable

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Fault, Loader, Problem, Programs, missing
from extensions.models.api import Models
from kernel.api import Slot

from .asking import Body
from .replies import Form, line
from .tongue import LINES

LATEST = ":latest"
"""What programs put after a name that has no tag."""
UNKNOWN = "model '{}' not found. GET /api/tags lists those that there are."
NOT_YOURS = (
    "Programs may not unload the model. Switch on “load by name” in Settings, Ollama API, or send "
    "the key of an administrator."
)


def plain(name: str | None) -> str:
    """A model's name as /v1/models has it."""
    return (name or "").removesuffix(LATEST)


class Keeper:
    """Loads and unloads what requests name, where the user wants that."""

    def __init__(
        self, slot: Slot, programs: Programs, models: Models, may: Callable[[], bool]
    ) -> None:
        self._slot, self._programs, self._models, self._may = slot, programs, models, may
        self._loader = Loader(programs.holding, models, may)

    async def want(self, call: Call, name: str | None) -> int:
        """Have this model loaded; answers the nanoseconds it took. Raises Problem."""
        began, wanted = time.monotonic_ns(), plain(name)
        if wanted and self._may() and not await self._known(wanted):
            raise missing(UNKNOWN.format(name), "model", "model_not_found")
        await self._loader.want(call, wanted)
        return time.monotonic_ns() - began

    async def load_or_unload(self, call: Call, body: Body, form: Form) -> Response:
        """What a request without words is for; raises Problem."""
        began = time.monotonic_ns()
        if body.unloads:
            await self._unload(call, plain(body.model))
            said = form(model=body.model or "", done=True, done_reason="unload")
        else:
            await self.want(call, body.model)
            await self._slot.settled()
            name = self._programs.called(self._programs.model().info)
            spent = time.monotonic_ns() - began
            more = {"total_duration": spent, "load_duration": spent}
            said = form(model=name, done=True, done_reason="load", **more)
        kind = LINES if body.streams else "application/json"
        data = line(said) if body.streams else msgspec.json.encode(said)
        return Response(data, media_type=kind)

    async def after(self, call: Call, body: Body) -> None:
        """The reply has ended: unload the model where that was said and nobody else has it."""
        holding = self._programs.holding
        programs = self._programs.runs.live or holding.held or holding.waiting
        others = programs or getattr(self._slot.model, "busy", False)  # With a page's reply.
        if body.unloads and self._allowed(call) and not others:
            await self._models.unload()

    # --- inside ------------------------------------------------------------------------

    async def _known(self, name: str) -> bool:
        return self._models.is_loaded(name) or await self._models.find(name) is not None

    def _allowed(self, call: Call) -> bool:
        return call.caller.admin or self._may()

    async def _unload(self, call: Call, name: str) -> None:
        if not self._allowed(call):
            raise Problem(Fault(NOT_YOURS, "permission_error", "keep_alive", "not_allowed"))
        if self._models.is_loaded(name):
            await self._models.unload()
