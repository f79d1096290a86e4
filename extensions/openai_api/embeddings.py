"""POST /v1/embeddings: texts as vectors of the model in the slot for that."""

import array
import base64
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Endpoint, Programs, json, refused
from kernel.api import Meta

SLOT = "embedding"
MOST = 2048
"""Texts of one request, as OpenAI has it."""
Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Body(msgspec.Struct, kw_only=True):
    """What is to be made a vector: a text, texts, tokens, or lists of tokens."""

    input: str | list[str | Id | list[Id]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None


class Vector(msgspec.Struct, kw_only=True):
    """One of them: numbers, or the bytes of 32-bit floats, lowest byte first, as base64."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class Usage(msgspec.Struct):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class Vectors(msgspec.Struct, kw_only=True):
    """The answer."""

    data: list[Vector]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


class Embeddings:
    """The route."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("/v1/embeddings", self.answer, takes=Body, gives=Vectors,
                     summary="Texts as vectors."),
        )  # fmt: skip

    async def answer(self, call: Call) -> Response:
        body: Body = call.read(Body)
        inputs = inputs_of(body.input)
        await self._programs.awake(SLOT)
        info = self._programs.described(SLOT)
        texts = [await self._text(each) for each in inputs]
        made = await self._programs.metered(
            call, "embed", texts, slot=SLOT, param="input", texts=texts
        )
        rows = [singles(row) for row in made]
        if rows and body.dimensions not in (None, len(rows[0])):
            says = f"dimensions: {info.name} makes vectors of {len(rows[0])} numbers. Leave it out."
            raise refused(says, "dimensions", "unsupported_value")
        encode = encoded if body.encoding_format == "base64" else list[float]
        vectors = [Vector(index=n, embedding=encode(row)) for n, row in enumerate(rows)]
        tokens = sum([await self._programs.length(text, slot=SLOT) for text in texts])
        return json(
            Vectors(data=vectors, model=self._programs.called(info), usage=Usage(tokens, tokens))
        )

    # --- inside ------------------------------------------------------------------------

    async def _text(self, given: str | Sequence[int]) -> str:
        """Tokens as the text that they stand for."""
        if isinstance(given, str):
            return given
        info = self._programs.info(SLOT)
        most = info.vocabulary_size if info else 0
        if most and max(given) >= most:
            says = f"input: {max(given)} is no token of this model. Send texts instead of tokens: "
            says += "LangChain does with check_embedding_ctx_length=False."
            raise refused(says, "input", "invalid_value")
        ask = self._programs.ask
        return str(await ask("detokenize", slot=SLOT, param="input", token_ids=[*given]))


def inputs_of(given: str | list[Any]) -> list[str | list[int]]:
    """Each input as a text or as tokens; raises Problem."""
    if isinstance(given, str):
        given = [given]
    if given and all(isinstance(each, int) for each in given):
        given = [given]
    if not 0 < len(given) <= MOST:
        raise refused(f"input: Send 1 to {MOST} texts.", "input", "invalid_value")
    for n, each in enumerate(given):
        if isinstance(each, int) or not each:
            says = f"input[{n}]: Expected a text that is not empty, or a list of tokens."
            raise refused(says, f"input[{n}]", "invalid_value")
    return given


def singles(row: Sequence[float]) -> "array.array[float]":
    """Numbers with the precision of 32 bits, so that both forms say the same."""
    return array.array("f", row)


def encoded(row: "array.array[float]") -> str:
    """Its bytes, lowest first."""
    if sys.byteorder == "big":
        row = array.array("f", row)
        row.byteswap()
    return base64.b64encode(row.tobytes()).decode()
