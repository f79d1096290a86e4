"""What the list in Settings shows of each key."""

from datetime import datetime
from typing import Any

from kernel.api import Key


def rows(keys: list[Key]) -> list[dict[str, Any]]:
    """What the list shows, the newest first."""
    return [
        {
            "id": key.id,
            "name": key.name,
            "scope": key.scope,
            "made": moment(key.made),
            "used": moment(key.used),
            "at_once": key.at_once,
            "tokens": key.tokens,
        }
        for key in reversed(keys)
    ]


def moment(seconds: float) -> str:
    """When that was, on this machine's clock; empty for never."""
    when = datetime.fromtimestamp(seconds)
    return f"{when.day} {when:%B %Y, %H:%M}" if seconds else ""
