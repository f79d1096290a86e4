"""Finds models on Hugging Face and fetches them, checked and whole."""

from typing import Annotated, Literal

from kernel.api import (
    PANELS,
    Disconnected,
    Extension,
    Meta,
    Panel,
    Secret,
    SettingsChanged,
    SlotChanged,
    Struct,
)

from .api import DOWNLOADS, Downloads
from .desk import Desk
from .hub import Hub
from .listing import Listing
from .looks import Looks
from .pages import Pages

Mirror = Annotated[
    str,
    Meta(
        max_length=300,
        pattern=r"^(https?://[^\s?/][^\s?]*)?$",
        extra={"wants": "an address, as https://hf-mirror.com"},
        title="Mirror",
        description="Where models are found and fetched, if not at https://huggingface.co; as "
        "https://hf-mirror.com. Your token is told to it.",
    ),
]
Token = Annotated[
    Secret,
    Meta(
        title="Hugging Face token",
        description="Yours, for models that are private or whose owner wants to be asked: one that "
        "may read is enough.",
    ),
]
Threads = Annotated[int, Meta(ge=1, le=16, description="Parts of a file that come at once.")]
AtOnce = Annotated[int, Meta(ge=1, le=8, description="Downloads at once; the others wait.")]
Limit = Annotated[
    float, Meta(ge=0, le=100_000, description="Megabytes a second for all together; 0: no limit.")
]
Retries = Annotated[
    int, Meta(ge=0, le=100, description="How often a file is tried again before it is given up.")
]
Xet = Annotated[
    Literal["auto", "never"],
    Meta(
        title="Xet",
        description="Large files that the hub keeps by Xet come through Xet's own client, except "
        "where there is a limit. Never: all come as plain bytes.",
    ),
]


class Settings(Struct, frozen=True):
    """What a user may change."""

    endpoint: Mirror = ""
    token: Token = Secret()
    threads: Threads = 4
    at_once: AtOnce = 2
    limit: Limit = 0.0
    retries: Retries = 7
    xet: Xet = "auto"


async def setup(ext: Extension[Settings]) -> None:
    """Nothing runs, and nothing is asked, until somebody looks or fetches."""
    hub = Hub(ext)
    downloads = Downloads(ext, hub.where)
    await downloads.open()
    listing = Listing(ext, downloads)
    pages = Pages(ext, hub, listing)
    listing.show, listing.changed = pages.tell_downloads, pages.files_changed
    looks = pages.looks = Looks(ext, hub, pages.tell)
    Desk(ext, hub, looks, pages, downloads)

    asked = hub.where()

    @ext.on(SettingsChanged)
    async def settings_changed(event: SettingsChanged) -> None:
        nonlocal asked
        before, asked = asked, hub.where()
        if asked != before:
            looks.forget()
            await pages.look_again()
        await downloads.settings_changed()

    @ext.on(SlotChanged)
    async def slot_changed(_: SlotChanged) -> None:
        await pages.model_changed()

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        pages.left(event.client)

    ext.add(DOWNLOADS, downloads)
    ext.add(PANELS, Panel("models", "section.html", pages.panel, 10, title="Download"))
    ext.add(PANELS, Panel("models", "first.html", pages.first, 10))
    ext.spawn(pages.watch(), "watch")
