"""Who asks, and what each may ask for."""

from collections.abc import Mapping
from typing import Literal

from starlette.types import Scope

from kernel.sampling import Struct

MB = 1 << 20
LIMITS = {
    "public": MB // 16, "page": 8 * MB, "files": 64 * MB, "inference": 64 * MB, "admin": 64 * MB,
}  # fmt: skip
"""The access classes, and the largest body each takes."""
OF_PAGES = ("page", "files")
"""What a page asks for: who is not signed in is led to the door."""
ALL, SOME = {*LIMITS}, {"public", "inference"}
NEEDED = "A key is needed: the server printed it at its start, and Settings shows it."
UNKNOWN = "This key is not known here, or counts no more. Make one in Settings, under API keys."
CARRIER = "spindle.key."
"""Begins the subprotocol by which a page of another site brings its key to a WebSocket."""
RIGHTS = {"page": ALL, "key": ALL, "admin": ALL, "generate": SOME, "local": SOME}


class Principal(Struct, frozen=True):
    """Who asks: a page's session, the holder of a key, or a program on this machine."""

    kind: Literal["page", "key", "local", "nobody"]
    id: str = ""
    scope: Literal["", "admin", "generate"] = ""
    """What its key is good for, see `Key`."""
    origin: str = ""
    """The site whose page sent it, if that is another than ours."""
    name: str = ""
    at_once: int = 0
    tokens: int = 0
    """What its key is called, and how much it may use: as it was when it came, see `Key`."""

    def may(self, access: str) -> bool:
        """Whether it may ask for what has this class of access."""
        return access in RIGHTS.get(self.scope or self.kind, ())


def headers_of(scope: Scope) -> dict[str, list[str]]:
    """All values of each header, by its name in small letters."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def keys_in(scope: Scope, headers: Mapping[str, list[str]]) -> list[str]:
    """All that was sent as a key, in whatever way."""
    texts = [text.partition(" ") for text in headers.get("authorization", [])]
    keys = [key.strip() for kind, _, key in texts if kind.lower() == "bearer"]
    keys += [key.strip() for name in ("x-api-key", "api-key") for key in headers.get(name, [])]
    offered: list[str] = scope.get("subprotocols", [])
    return keys + [name[len(CARRIER) :] for name in offered if name.startswith(CARRIER)]


def address_of(scope: Scope) -> str:
    """Whose tries are counted together: an IPv4 address, or the network of an IPv6 one."""
    said = str((scope.get("client") or ("",))[0]).partition("%")[0]
    if ":" not in said:
        return said
    import ipaddress  # noqa: PLC0415 - 3 ms of every start

    try:
        ip = ipaddress.ip_address(said)
    except ValueError:
        return said
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(mapped or ipaddress.ip_network((ip, 64), strict=False))
