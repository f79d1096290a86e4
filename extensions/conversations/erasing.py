"""What was deleted becomes final, and who else keeps something of it is told what is gone."""

import sqlite3
import time
from collections.abc import Sequence

from .reshaping import Reshaping

PURGE_AFTER = 30 * 24 * 3600.0
"""Seconds between a deletion and its being final."""


class Erasing(Reshaping):
    """The end of what a store held."""

    async def purge(self, older: float = PURGE_AFTER) -> None:
        """Make deletions final that are `older` seconds old."""
        limit = (time.time() - older,)

        def work(c: sqlite3.Connection) -> None:
            c.execute("DELETE FROM conversations WHERE deleted < ?", limit)
            c.execute(
                "DELETE FROM enclosures WHERE message IN"
                " (SELECT id FROM messages WHERE deleted < ? AND parts <> '')",
                limit,
            )
            c.execute(
                "UPDATE messages SET text = '', raw = NULL, parts = '', reasoning = '', error = '',"
                " name = '', sampling = '{}'"  # Stopping strings and such are words, too.
                " WHERE deleted < ? AND (text || parts || reasoning || error || name <> ''"
                " OR sampling <> '{}')",
                limit,
            )

        await self._write(work)

    async def gone(self, messages: Sequence[str]) -> Sequence[str]:
        """Which of these messages were deleted for good; none while that cannot be told, because
        this is not all that there is. `Erased` says when it can."""

        def work(c: sqlite3.Connection) -> Sequence[str]:
            kept = (
                "SELECT 1 FROM messages WHERE id = ?"
                " AND (deleted IS NULL OR text || parts || reasoning || error <> '')"
            )
            return [id for id in messages if not c.execute(kept, (id,)).fetchone()]

        found = () if self.partial else await self._read("", work)
        return () if self.partial else found  # It may have become so meanwhile.
