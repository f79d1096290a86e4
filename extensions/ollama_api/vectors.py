"""POST /api/embed and /api/embeddings: texts as vectors, by the model for vectors."""

import math
import time
from typing import Annotated

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Programs, json
from kernel.api import Meta

from .messages import Str

SLOT = "embedding"


class Embed(msgspec.Struct, kw_only=True):
    """The body of /api/embed."""

    input: str | list[str] | None = None
    model: Str = None
    truncate: bool | None = None
    """A text that is too long is refused all the same."""
    dimensions: Annotated[int, Meta(ge=1)] | None = None


class Embedded(msgspec.Struct, kw_only=True):
    """Its answer; durations are nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int = 0
    prompt_eval_count: int = 0


class Prompt(msgspec.Struct, kw_only=True):
    """The body of /api/embeddings, the older form."""

    prompt: Str = None
    model: Str = None


class Vector(msgspec.Struct):
    """Its answer."""

    embedding: list[float]


class Vectors:
    """Both addresses."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def embed(self, call: Call) -> Response:
        began = time.monotonic_ns()
        body = call.read(Embed)
        said = [body.input] if isinstance(body.input, str) else body.input or []
        texts = [text for text in said if text] if isinstance(body.input, str) else said
        await self._programs.awake(SLOT)
        name = self._programs.described(SLOT).name
        found = [shortened(each, body.dimensions) for each in await self._made(call, texts)]
        count = sum([len(await self._programs.tokens(text, slot=SLOT)) for text in texts])
        spent = time.monotonic_ns() - began
        return json(
            Embedded(model=name, embeddings=found, total_duration=spent, prompt_eval_count=count)
        )

    async def embeddings(self, call: Call) -> Response:
        body = call.read(Prompt)
        await self._programs.awake(SLOT)
        self._programs.described(SLOT)
        found = await self._made(call, [body.prompt]) if body.prompt else [[]]
        return json(Vector(found[0]))

    async def _made(self, call: Call, texts: list[str]) -> list[list[float]]:
        if not texts:
            return []
        return await self._programs.metered(call, "embed", texts, slot=SLOT, texts=texts)


def shortened(vector: list[float], most: int | None) -> list[float]:
    """Its first numbers, again of length 1."""
    if not most or most >= len(vector):
        return vector
    length = math.hypot(*vector[:most]) or 1.0
    return [number / length for number in vector[:most]]
