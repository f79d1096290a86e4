"""Tells lorebooks of their own in the conversations for which a person chooses them."""

from typing import Annotated, Any

from extensions.characters.api import CHARACTERS, SHELVES, WorldRenamed
from extensions.chat.api import SETUPS, TALK
from extensions.conversations.api import STORE
from kernel.api import MODES, PANELS, Action, Client, Extension, Meta, Panel

from .chosen import Chosen


class Tell(Action, frozen=True):
    """Tell a lorebook in a conversation, or no longer; without one a new one begins."""

    conversation: str
    world: Annotated[str, Meta(max_length=200)]
    on: bool


async def setup(ext: Extension[Any]) -> None:
    library, setups, talk = ext.one(CHARACTERS), ext.one(SETUPS), ext.one(TALK)
    chosen = Chosen(ext.one(STORE))

    async def context(client: Client | None, subject: str) -> dict[str, Any]:
        """The context of lore.html."""
        mode = (await setups.of(subject)).mode
        wants = [m.id for m in ext.get(MODES) if "character" in getattr(m, "wants", ())]
        told = await chosen.worlds(subject)
        names = await ext.thread(library.worlds.names)
        return {
            "conversation": subject,
            "worlds": [(name, name in told, name in library.everywhere) for name in names]
            if mode in wants
            else [],
            "many": sum(name in told for name in names),
        }

    @ext.on(Tell)
    async def tell(action: Tell, client: Client) -> None:
        await ext.thread(library.worlds.place, action.world)
        conversation = action.conversation or await talk.empty(client)
        await chosen.choose(conversation, action.world, on=action.on)
        await talk.recast(conversation)

    @ext.on(WorldRenamed)
    async def renamed(event: WorldRenamed) -> None:
        await chosen.rename(event.old, event.new)

    ext.add(SHELVES, chosen)
    ext.add(PANELS, Panel("composer", "lore.html", context, order=-4))
