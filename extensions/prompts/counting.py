"""How many tokens a prompt has: its words, and its pictures, which engines count by their size."""

from collections.abc import Sequence

from msgspec import structs

from kernel.api import Audio, Image, Message, Model, Request

from .rendering import rendered

GUESS = 4
"""Bytes of a token, where the model cannot be asked."""
FRAME = 16
"""Bytes that a template may put around a message; more than enough for the quick look."""
UNSEEN = 16
"""Tokens of a picture for a model that cannot see: those of the words in its place, at most."""
PARTED = 2
"""Tokens that a text may have more, parted by a picture: one at each of its sides."""
PATCH, LEAST, MOST = 28, 256, 4096
"""Of a picture where the model cannot be asked: one token for so many dots in width and height, as
Qwen's models have it; not fewer than Gemma's 256, and not more than llama.cpp makes of any."""

Size = tuple[int, int]


class Counting:
    """Counts prompts for one model; each size of pictures is asked for once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pictures: dict[Size, int] = {}

    async def pictures(self, messages: Sequence[Message]) -> int:
        """Tokens of their pictures alone."""
        sizes = [p.size for m in messages for p in m.parts if isinstance(p, Image)]
        if new := [size for size in dict.fromkeys(sizes) if size not in self._pictures]:
            self._pictures |= dict(zip(new, await self._asked(new), strict=True))
        return sum(self._pictures[size] for size in sizes)

    async def at_most(self, request: Request) -> int:
        """Tokens that a prompt has for sure no more of: none is shorter than a byte."""
        messages = request.messages or ()
        words = sum(len(message.text.encode()) + FRAME for message in messages)
        return words + await self.pictures(messages)

    async def tokens(self, request: Request) -> int:
        """The tokens of a prompt, or a guess where the model cannot be asked or refuses."""
        plain = [
            structs.replace(m, parts=tuple(p for p in m.parts if not isinstance(p, Image | Audio)))
            for m in request.messages or ()
        ]
        try:
            prompt = await rendered(self._model, structs.replace(request, messages=tuple(plain)))
            words = len(await self._model.call("tokenize", text=prompt))
        except Exception:  # Whatever it is, the reply itself will say it.
            words = sum(len(m.text.encode()) + FRAME for m in plain) // GUESS
        return words + await self.pictures(request.messages or ())

    async def _asked(self, sizes: Sequence[Size]) -> list[int]:
        if "images" not in self._model.info.capabilities:
            return [UNSEEN] * len(sizes)
        try:
            return [int(each) + PARTED for each in await self._model.call("pictures", sizes=sizes)]
        except Exception:  # Whatever it is, the reply itself will say it.
            return [guess(size) for size in sizes]


def guess(size: Size) -> int:
    """What a picture takes in a model that does not say; one of unknown size as much as any."""
    across, down = (-(-dots // PATCH) for dots in size)
    return min(max(across * down, LEAST), MOST) if across * down else MOST
