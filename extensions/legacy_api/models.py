"""POST /api/v1/model: what there is, loaded and unloaded."""

from typing import Any

from starlette.responses import Response

from extensions.api_kit.api import (
    Call,
    Fault,
    Problem,
    Programs,
    json,
    not_loaded,
    refused,
    unavailable,
)
from extensions.loras.api import Loras
from extensions.models.api import Models
from kernel.api import LoadFailed, NoModel, Refused, Replaced

from .fields import Act

ADMIN = (
    "Loading needs the key of an administrator: the server printed it at its start, and Settings "
    "shows it. Send it as Authorization: Bearer KEY."
)


class Shelf:
    """What is done with models."""

    def __init__(self, programs: Programs, models: Models, loras: Loras) -> None:
        self._programs, self._models, self._loras = programs, models, loras

    async def act(self, call: Call) -> Response:
        """Carry out an action; raises Problem."""
        body = call.read(Act)
        match body.action:
            case "list":
                await self._models.look()
                return json({"result": sorted(self._models.names)})
            case "load" | "unload":
                if not call.caller.admin:
                    raise Problem(Fault(ADMIN, "permission_error", None, "admin_key_needed"))
                await (self._load(body) if body.action == "load" else self._models.unload())
        return json({"result": self.info()})

    def info(self) -> dict[str, Any]:
        """What is loaded, in the old form."""
        info = self._programs.info()
        return {
            "model_name": self._programs.called(info) if info else "None",
            "lora_names": [name for name, _ in self._loras.applied],
            "shared.settings": {"truncation_length": info.context_length if info else 0},
            "shared.args": {"loader": info.loader if info else ""},
        }

    async def _load(self, body: Act) -> None:
        file = await self._models.find(body.model_name or "")
        if not file:
            says = f"There is no model {body.model_name or '…'}. The action list tells which are."
            raise refused(says, "model_name", "model_not_found")
        options = dict(body.args or {})
        try:
            await self._models.load(file.name, options=options)
        except Refused as error:
            raise refused(str(error), "args", "invalid_value") from error
        except NoModel as error:
            raise unavailable(str(error), "load_failed") from error
        except LoadFailed as error:
            if options and not isinstance(error, Replaced):  # Without them it might have gone well.
                raise refused(str(error), "args", "load_failed") from error
            raise not_loaded(error, "model_name") from error
