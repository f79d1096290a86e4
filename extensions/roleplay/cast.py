"""Characters and personas as the page offers them."""

from collections.abc import Sequence

from extensions.characters.api import Library
from extensions.prompts.api import Face


class Players:
    """What is contributed to CAST."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def characters(self) -> Sequence[Face]:
        return [Face(each.id, each.char, each.picture) for each in await self._library.all()]

    async def personas(self) -> Sequence[Face]:
        return [Face(each.id, each.name, each.picture) for each in await self._library.personas()]

    async def face(self, character: str, persona: str, place: str) -> Face | None:
        found = await self._library.get(character)
        scene = await self._library.scene(found, persona, seed=place, conversation=place)
        return Face(found.id, scene.char, found.picture, scene.greetings)

    async def expand(
        self, text: str, character: str, persona: str, *, conversation: str, seed: str
    ) -> str:
        return await self._library.expand(
            text, character, persona, seed=seed, conversation=conversation
        )
