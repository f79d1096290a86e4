"""Who else may ask: programs on this machine without a key, and pages of other sites."""

import re
from typing import Any
from urllib.parse import urlsplit

from kernel.api import Extension, Refused

PORTS = {"http": 80, "https": 443}
WANTED = "Write scheme and name, as in https://app.example.org."


class Sites:
    """The section `api` of settings.yaml, as the panel shows and changes it."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._kernel = ext.admin

    def now(self) -> dict[str, Any]:
        """What the form shows."""
        door = self._kernel.access.door
        rules = door.rules() if door else None
        return {
            "require_key": bool(rules and rules.require_key),
            "origins": list(rules.origins) if rules else [],
        }

    async def admit(self, require_key: bool, origins: str) -> None:
        """Change both; `origins` are addresses with space or new lines between them."""
        found = list(dict.fromkeys(origin(text) for text in re.split(r"[\s,]+", origins) if text))
        await self._kernel.changes.section("api", {"require_key": require_key, "origins": found})

    def cut_off(self) -> None:
        """Close what is open of pages whose site is on the list no more."""
        if door := self._kernel.access.door:
            listed = {"", *door.rules().origins}
            door.revoke(lambda who: who.origin not in listed)


def origin(text: str) -> str:
    """The site of an address, as a browser writes it; raises Refused."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError:
        raise Refused(f"“{text}” is not the address of a site. {WANTED}") from None
    host = f"[{host}]" if ":" in host else host
    if not re.fullmatch(r"[a-z0-9._:\[\]-]+", host) or "@" in parts.netloc:
        raise Refused(f"“{text}” is not the address of a site. {WANTED}")
    end = f":{port}" if port and PORTS.get(parts.scheme) != port else ""
    return f"{parts.scheme}://{host}{end}"
