"""Write freely; the model continues the text."""

from typing import Any

from extensions.writing.api import WRITING
from kernel.api import Extension

ICON = "M6 3.5h10.5a2 2 0 0 1 2 2v15h-12.5zM6 3.5v17M3.5 8h4M3.5 12h4M3.5 16h4M10.5 8.5h5M10.5 12h5"


async def setup(ext: Extension[Any]) -> None:
    ext.one(WRITING).tab(ext, "Notebook", ICON, two=False, order=10)
