"""Tokens, texts and vectors, as llama.cpp's server tells them."""

from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Programs, json

SLOT = "embedding"


class Tokenize(msgspec.Struct):
    """A text; `add_special` adds what the model wants first."""

    content: str
    add_special: bool | None = None
    with_pieces: bool | None = None


class Detokenize(msgspec.Struct):
    """Tokens."""

    tokens: list[int]


class Embed(msgspec.Struct):
    """Texts that vectors are wanted of."""

    content: str | list[str]


class Vector(msgspec.Struct, frozen=True):
    """One of them, in a list as llama.cpp has it."""

    index: int
    embedding: list[list[float]]


class Tokens:
    """Answers that the engine gives."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def tokens(self, call: Call) -> Response:
        body = call.read(Tokenize)
        special = bool(body.add_special)
        if not body.with_pieces:
            ids = await self._programs.tokens(body.content, special=special)
            return json({"tokens": ids})
        said = await self._programs.ask("tokenize", text=body.content, special=special, pieces=True)
        found = [{"id": id, "piece": piece(data)} for id, data, _ in said]
        return json({"tokens": found})

    async def text(self, call: Call) -> Response:
        return json({"content": await self._programs.text(call.read(Detokenize).tokens)})

    async def embed(self, call: Call) -> Response:
        said = call.read(Embed).content
        texts = [said] if isinstance(said, str) else said
        await self._programs.awake(SLOT)
        self._programs.described(SLOT)
        rows = list[list[float]]()
        if texts:
            rows = await self._programs.metered(
                call, "embed", texts, slot=SLOT, param="content", texts=texts
            )
        return json([Vector(n, [[*row]]) for n, row in enumerate(rows)])


def piece(data: bytes) -> Any:
    """A text, or bytes where it is half a letter."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return [*data]
