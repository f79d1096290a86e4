"""Tokens, texts and vectors, as KoboldCpp counts them."""

from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Answer, Call, Endpoint, Programs, json

SLOT = "embedding"


class Count(msgspec.Struct):
    """What is to be counted; `special` is whether the token that begins a text counts."""

    prompt: str
    special: bool | None = None


class Counted(msgspec.Struct, frozen=True):
    """How many there are, and which."""

    value: int
    ids: list[int]


class Ids(msgspec.Struct):
    """Tokens that a text is wanted of."""

    ids: list[int]


class Said(msgspec.Struct, frozen=True):
    """Their text."""

    result: str
    success: bool = True


class Embed(msgspec.Struct):
    """Texts that vectors are wanted of."""

    input: str | list[str]


class Vector(msgspec.Struct, frozen=True):
    """One of them."""

    index: int
    embedding: list[float]
    object: str = "embedding"


class Vectors(msgspec.Struct, frozen=True):
    """All of them, in the order of the texts."""

    data: list[Vector]
    model: str
    object: str = "list"


class Tokens:
    """Answers that the engine gives."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def endpoints(self, at: str) -> tuple[Endpoint, ...]:
        """Below this address."""

        def of(name: str, answer: Answer, takes: Any, gives: Any, summary: str) -> Endpoint:
            return Endpoint(f"{at}/{name}", answer, takes=takes, gives=gives, summary=summary)

        return (
            of("tokencount", self.count, Count, Counted, "Tokens of a text."),
            of("detokenize", self.text, Ids, Said, "The text of tokens."),
            of("embeddings", self.embed, Embed, Vectors, "Vectors of texts."),
        )

    async def count(self, call: Call) -> Response:
        body = call.read(Count)
        special = body.special is None or body.special
        ids = await self._programs.tokens(body.prompt, special=special)
        return json(Counted(len(ids), ids))

    async def text(self, call: Call) -> Response:
        return json(Said(await self._programs.text(call.read(Ids).ids, "ids")))

    async def embed(self, call: Call) -> Response:
        said = call.read(Embed).input
        texts = [said] if isinstance(said, str) else said
        await self._programs.awake(SLOT)
        info = self._programs.described(SLOT)
        rows = list[list[float]]()
        if texts:
            rows = await self._programs.metered(
                call, "embed", texts, slot=SLOT, param="input", texts=texts
            )
        vectors = [Vector(n, [*row]) for n, row in enumerate(rows)]
        return json(Vectors(vectors, info.name))
