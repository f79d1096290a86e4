"""Which lorebooks are told in which conversation, kept with each."""

from collections.abc import Sequence
from typing import Any

from extensions.conversations.api import Store, Unknown
from kernel.api import Refused

HERE = ("lorebooks", "told")
MOST = 50
"""Lorebooks of one conversation."""


class Chosen:
    """What is contributed to SHELVES."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def worlds(self, conversation: str) -> Sequence[str]:
        """The names that were chosen for a conversation."""
        return _names(await self._store.state(conversation, *HERE) if conversation else None)

    async def rename(self, old: str, new: str) -> None:
        """A lorebook is called otherwise now, in every conversation."""

        def renamed(kept: Any) -> list[Any] | None:
            told: list[Any] = kept if isinstance(kept, list) else []
            return [new if name == old else name for name in told] if old in told else None

        await self._store.change_states(*HERE, renamed)

    async def choose(self, conversation: str, world: str, *, on: bool) -> None:
        """Tell one more there, or one less; raises Refused where the conversation is gone."""

        def change(kept: Any) -> list[str]:
            others = [name for name in _names(kept) if name != world]
            if on and len(others) >= MOST:
                raise Refused(f"A conversation has {MOST} lorebooks at most. Take one away first.")
            return [*others, world] if on else others

        try:
            await self._store.change_state(conversation, *HERE, change)
        except Unknown:
            raise Refused("This conversation is gone. Begin another one.") from None


def _names(kept: Any) -> list[str]:
    return [name for name in kept if isinstance(name, str)] if isinstance(kept, list) else []
