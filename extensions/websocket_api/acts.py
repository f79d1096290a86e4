"""Actions of the page, for programs that may do everything."""

import secrets
from typing import Any

from extensions.api_kit.api import Caller, Fault, Problem
from kernel.api import Client, Disconnected, Extension, Refused

from .frames import Act, Acted

AT_ONCE = 16
"""Actions of one socket that may be under way."""
NOT_YOURS = "This key is for replies. Actions need a key with all rights: see Settings, API keys."
BUSY = f"{AT_ONCE} actions are under way already. Wait until one was answered."


class Acts:
    """The actions of one socket."""

    def __init__(self, ext: Extension[Any], caller: Caller, *, near: bool) -> None:
        self._ext, self._caller, self._near = ext, caller, near
        self._running = 0

    def check(self) -> None:
        """Raises Problem where nothing may be done."""
        if not self._caller.admin:
            raise Problem(Fault(NOT_YOURS, "permission_error", "action", "admin_key_needed"))
        if self._running >= AT_ONCE:
            raise Problem(Fault(BUSY, "rate_limit_error", None, "too_many_actions"))
        self._running += 1

    async def act(self, frame: Act) -> Acted:
        """Do it as for a page that nobody looks at; raises Problem."""
        client = Client(f"program-{secrets.token_hex(6)}", self._caller.id, frame.path)
        client.near = self._near
        notes, errors, result = list[str](), list[str](), None
        client.hear = lambda text, kind: (errors if kind == "error" else notes).append(text)
        try:
            actions = self._ext.admin.hub.actions
            result = await actions.act(client, {**frame.fields, "action": frame.action})
        except Refused as refusal:
            errors.append(str(refusal))
        finally:
            self._running -= 1
            self._ext.emit(Disconnected(client))  # It has no page that could leave.
        if errors:
            says = " ".join(errors)
            raise Problem(Fault(says, "invalid_request_error", "fields", "action_refused"))
        return Acted(frame.id, tuple(notes), result)
