"""The routes of TabbyAPI that its clients need beside OpenAI's."""

from typing import Literal

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Endpoint, Programs, json

from .internal import Encoded, Ids, Words
from .models import Catalogue, Listed, Model


class Text(msgspec.Struct, kw_only=True):
    """A text, and whether the model's token for a beginning stands before it."""

    text: str
    add_bos_token: bool | None = None
    encode_special_tokens: bool | None = None
    decode_special_tokens: bool | None = None


class Permission(msgspec.Struct):
    """What the caller may do."""

    permission: Literal["admin", "api"]


class Tabby:
    """What SillyTavern's type tabby asks."""

    def __init__(self, programs: Programs, catalogue: Catalogue) -> None:
        self._programs, self._catalogue = programs, catalogue

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("/v1/model", self.model, "GET", gives=Model, summary="The loaded model."),
            Endpoint("/v1/model/list", self._catalogue.listed, "GET", gives=Listed,
                     summary="The models there are."),
            Endpoint("/v1/token/encode", self.encode, takes=Text, gives=Encoded,
                     summary="Tokens of a text."),
            Endpoint("/v1/token/decode", self.decode, takes=Ids, gives=Words,
                     summary="The text of tokens."),
            Endpoint("/v1/auth/permission", self.permission, "GET", gives=Permission,
                     summary="What the caller may do."),
        )  # fmt: skip

    async def model(self, call: Call) -> Response:
        return json(self._catalogue.loaded(self._programs.described()))

    async def encode(self, call: Call) -> Response:
        body: Text = call.read(Text)
        special = body.add_bos_token is not False
        tokens = await self._programs.tokens(body.text, special=special)
        return json(Encoded(tokens, len(tokens)))

    async def decode(self, call: Call) -> Response:
        return json(Words(await self._programs.text(call.read(Ids).tokens)))

    async def permission(self, call: Call) -> Response:
        return json(Permission("admin" if call.caller.admin else "api"))
