"""What extensions may offer beside words: speech, hearing, pictures. APIs hand it on."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from kernel.api import Point, Struct


class Recording(Struct, frozen=True):
    """A recording."""

    data: bytes
    media_type: str


@runtime_checkable
class Speaker(Protocol):
    """Speaks texts; `formats` are those it can, the first where nobody asks for one."""

    formats: Sequence[str]

    async def speak(self, text: str, voice: str, speed: float, format: str) -> Recording:
        """The whole text; `speed` 1 is as usual. A voice that it does not have is its own one.
        Raises Refused."""
        ...


@runtime_checkable
class Listener(Protocol):
    """Writes down what is said."""

    async def hear(self, data: bytes, name: str, language: str) -> str:
        """The words of a recording, whose file has this name; raises Refused."""
        ...


@runtime_checkable
class Painter(Protocol):
    """Makes pictures of words."""

    async def paint(self, prompt: str, negative: str, size: tuple[int, int], n: int) -> list[bytes]:
        """So many pictures, as PNG; raises Refused."""
        ...


SPEECH: Point[Speaker] = Point("speech", "Who speaks texts for programs.", Speaker)
HEARING: Point[Listener] = Point("hearing", "Who writes down recordings of programs.", Listener)
PICTURES: Point[Painter] = Point("pictures", "Who makes pictures for programs.", Painter)
