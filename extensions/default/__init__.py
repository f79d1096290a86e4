"""One box for what goes in, one for what comes out."""

from typing import Any

from extensions.writing.api import WRITING
from kernel.api import Extension

ICON = "M3.5 4.5h7v15h-7zM13.5 4.5h7v15h-7zM5.5 8h3M15.5 8h3M15.5 11h3M15.5 14h3"


async def setup(ext: Extension[Any]) -> None:
    ext.one(WRITING).tab(ext, "Default", ICON, two=True, order=11)
