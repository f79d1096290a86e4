"""Carry out actions: of pages, and of programs that may do everything."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from kernel.checks import SettingsError, check
from kernel.contract import Refused
from kernel.guard import Lease, called
from kernel.points import Entry, Point
from kernel.records import told
from kernel.sampling import Struct

if TYPE_CHECKING:
    from kernel.clients import Client
    from kernel.manager import Kernel


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what a page may ask for: `{"action": "<extension>.<snake_case_of_class>", …}`."""


class Handler(Struct, frozen=True):
    """The one place where an action is carried out."""

    name: str
    kind: type[Action]
    function: Callable[[Any, "Client"], Awaitable[Any]]


ACTIONS: Point[Handler] = Point("actions", "What pages may ask for.", Handler)


def wire_name(owner: str, kind: type[msgspec.Struct]) -> str:
    return owner + "." + re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


class Actions:
    """All actions that are contributed now."""

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel

    async def act(self, client: "Client", values: dict[str, Any]) -> Any:
        """Carry one out; answers the struct that it gave, as plain data, for programs: a page is
        pushed what it shows. Raises Refused with a sentence for who asked where that failed."""
        name = values.pop("action")
        values.pop("headers", None)
        entry = next(
            (e for e in self._kernel.registry.entries(ACTIONS) if e.value.name == name), None
        )
        if not entry:
            raise Refused(self._kernel.absent(*name.partition(".")[::2]))
        kind, known = entry.value.kind, entry.value.kind.__struct_fields__
        if "rest" in known:  # An action for a form whose fields are known at run time only.
            values["rest"] = {k: values.pop(k) for k in list(values) if k not in known}
        values = {k: v for k, v in values.items() if k in known}  # A button brings its form along.
        good, errors = check(kind, values)
        if errors:
            raise Refused(" ".join(errors.values()))
        try:
            action = kind(**{k: v for k, v in good.items() if v is not msgspec.UNSET})
        except TypeError as missing:
            raise Refused(f"The page sent too little ({missing}). Reload it.") from None
        return await self._carry_out(entry, action, client)

    async def _carry_out(self, entry: Entry[Handler], action: Action, client: "Client") -> Any:
        task, name = asyncio.current_task(), self._kernel.name(entry.owner)
        assert task
        lease = Lease(entry, task.cancel)
        try:
            result = await called(entry.value.function, action, client)
            return msgspec.to_builtins(result) if isinstance(result, msgspec.Struct) else None
        except (Refused, SettingsError) as refusal:
            raise Refused(str(refusal)) from None
        except asyncio.CancelledError:
            says = f"{name} was switched off before it could answer. Try again."
            raise Refused(says) from None
        except Exception as error:
            self._kernel.guard.failed(entry.owner, f"action {entry.value.name}", error)
            says = f"{name} failed: {told(error)}. Its card in Settings says more."
            raise Refused(says) from None
        finally:
            lease.done()
