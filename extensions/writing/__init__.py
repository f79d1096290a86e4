"""What Notebook and Default are made of: texts that a model continues, and their files."""

from typing import Any

from markupsafe import Markup

from extensions.chat.api import Markdown
from kernel.api import Connected, Extension

from .api import WRITING, Writing
from .library import Library


async def setup(ext: Extension[Any]) -> None:
    def code(language: str, html: str) -> str:
        return ext.render("_code.html", language=language, html=Markup(html)).strip()

    library, markdown = Library(ext), Markdown(code)
    ext.defer(library.close)
    ext.on(Connected)(lambda _: ext.thread(markdown.prepare))
    ext.add(WRITING, Writing(library, markdown))
