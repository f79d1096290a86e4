"""The mode Chat-instruct: a character's conversation inside an instruction."""

from typing import Annotated, Any

from extensions.characters.api import CHARACTERS
from extensions.prompts.api import PROMPTS
from kernel.api import MODES, Extension, Meta, Phase, SettingsChanged, Struct

from .mode import ChatInstruct


class Settings(Struct, frozen=True):
    """The words around a conversation that has none of its own."""

    command: Annotated[
        str,
        Meta(
            description="What the model is asked; “<|character|>” is who speaks, “<|prompt|>” the"
            " conversation. Empty: as usual.",
            extra={"area": True},
        ),
    ] = ""


async def setup(ext: Extension[Any]) -> None:
    library, prompts = ext.one(CHARACTERS), ext.one(PROMPTS)
    mode = ChatInstruct(prompts, library, lambda: ext.settings.command)
    ext.add(MODES, mode, phase=Phase.LATE)  # A character talks plainly where nobody chose.

    @ext.on(SettingsChanged)
    async def keep_talking(_: SettingsChanged) -> None:
        """The next turn reads the settings anew: no reply has to stop for that."""
