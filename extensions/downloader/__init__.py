"""Finds models on Hugging Face and fetches them, checked and whole."""

from typing import Annotated

from kernel.api import Extension, Meta, SettingsChanged, Struct

from .api import DOWNLOADS, Downloads
from .plan import HUB

Threads = Annotated[int, Meta(ge=1, le=16, description="Parts of a file that come at once.")]
AtOnce = Annotated[int, Meta(ge=1, le=8, description="Downloads at once; the others wait.")]
Limit = Annotated[
    float, Meta(ge=0, le=100_000, description="Megabytes a second for all together; 0: no limit.")
]
Retries = Annotated[
    int, Meta(ge=0, le=100, description="How often a file is tried again before it is given up.")
]


class Settings(Struct, frozen=True):
    """What a user may change."""

    threads: Threads = 4
    at_once: AtOnce = 2
    limit: Limit = 0.0
    retries: Retries = 7


async def setup(ext: Extension[Settings]) -> None:
    """Nothing runs until a download is asked for."""
    downloads = Downloads(ext, lambda endpoint: (endpoint or HUB, ""))
    await downloads.open()
    ext.add(DOWNLOADS, downloads)

    @ext.on(SettingsChanged)
    async def paced(event: SettingsChanged) -> None:
        await downloads.settings_changed()
