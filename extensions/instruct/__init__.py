"""The plain way to talk to a model: the messages as they are, in the template's turns."""

from typing import Annotated, Any

from extensions.prompts.api import PROMPTS
from kernel.api import MODES, Extension, Meta, SettingsChanged, Struct

from .mode import Instruct


class Settings(Struct, frozen=True):
    """What is told where a conversation says nothing else."""

    system_message: Annotated[
        str, Meta(description="What the model is told before every conversation.")
    ] = ""


async def setup(ext: Extension[Any]) -> None:
    ext.add(MODES, Instruct(ext.one(PROMPTS), lambda: ext.settings.system_message))

    @ext.on(SettingsChanged)
    async def keep_talking(_: SettingsChanged) -> None:
        """The next turn reads the settings anew: no reply has to stop for that."""
