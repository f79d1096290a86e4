"""How long the user was silent before this turn, which characters may speak of."""

import time
from collections.abc import Sequence
from itertools import islice

from extensions.conversations.api import StoredMessage


def silence(said: Sequence[StoredMessage]) -> float:
    """Seconds since the user spoke before the last message; 0 where that was never."""
    before = islice(reversed(said), 1, None)
    spoke = next((each.created for each in before if each.role == "user"), None)
    return 0.0 if spoke is None else max(0.0, time.time() - spoke)
