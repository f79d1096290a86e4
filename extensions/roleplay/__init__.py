"""The mode Chat: the model speaks as a character, in lines that begin with names."""

from typing import Annotated, Any

from extensions.characters.api import CHARACTERS, LibraryChanged, Renamed
from extensions.prompts.api import CAST, PROMPTS, CastChanged, CastRenamed
from kernel.api import MODES, OUTPUT, Extension, Meta, Phase, SettingsChanged, Struct

from .cast import Players
from .mode import Roleplay
from .naming import Naming


class Settings(Struct, frozen=True):
    """What is told where a character brings no system prompt."""

    system_prompt: Annotated[
        str, Meta(description="What stands before characters that bring no system prompt.")
    ] = ""


async def setup(ext: Extension[Any]) -> None:
    library = ext.one(CHARACTERS)
    ext.add(MODES, Roleplay(ext.one(PROMPTS), library, lambda: ext.settings.system_prompt))
    ext.add(CAST, Players(library))
    ext.on(OUTPUT, phase=Phase.EARLY)(Naming(library).strip)

    @ext.on(LibraryChanged)
    async def library_changed(_: LibraryChanged) -> None:
        ext.emit(CastChanged())

    @ext.on(Renamed)
    async def renamed(event: Renamed) -> None:
        ext.emit(CastRenamed(event.old, event.new))

    @ext.on(SettingsChanged)
    async def keep_talking(_: SettingsChanged) -> None:
        """The next turn reads the settings anew: no reply has to stop for that."""
