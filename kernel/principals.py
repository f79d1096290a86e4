"""Who asks, and what each may ask for."""

from typing import Literal

from kernel.sampling import Struct

MB = 1 << 20
LIMITS = {"public": MB // 16, "page": 8 * MB, "inference": 64 * MB, "admin": 64 * MB}
"""The access classes, and the largest body each takes."""
ALL, SOME = {*LIMITS}, {"public", "inference"}
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
