"""What translators implement, and the point where they are contributed."""

from typing import Protocol

from kernel.api import Point

__all__ = ["TRANSLATORS", "Translator"]


class Translator(Protocol):
    """Puts a sentence or a message into another language; languages are codes such as `de`."""

    id: str
    label: str

    async def translate(self, text: str, source: str, target: str) -> str: ...


TRANSLATORS: Point[Translator] = Point("translators", "Ways to translate a text.")
