"""Lets programs written for text-generation-webui's old API use the model."""

from typing import Any

from starlette.responses import Response
from starlette.routing import WebSocketRoute

from extensions.api_kit.api import APIS, NAMES, PROGRAMS, Api, Call, Endpoint, json
from extensions.loras.api import LORAS
from extensions.models.api import MODELS
from extensions.parameters.api import PARAMETERS
from extensions.text_api.api import DIALECTS, Dialect
from kernel.api import ROUTES, Extension, Refused

from . import fields
from .models import Shelf
from .replies import Writer
from .sockets import Socket

PORTS = ("api-blocking-port", "api-streaming-port")


async def setup(ext: Extension[Any]) -> None:
    programs = ext.one(PROGRAMS)
    rest = fields.Rest(programs, ext.one(PARAMETERS))
    writer = Writer(rest)
    models = ext.one(MODELS)
    shelf = Shelf(programs, models, ext.one(LORAS))

    async def count(call: Call) -> Response:
        tokens = await programs.tokens(call.read(fields.Count).prompt)
        return json({"results": [{"tokens": len(tokens)}]})

    async def encode(call: Call) -> Response:
        tokens = await programs.tokens(call.read(fields.Encode).input)
        return json({"results": [{"tokens": tokens, "length": len(tokens)}]})

    async def decode(call: Call) -> Response:
        text = await programs.text(call.read(fields.Decode).input, "input")
        return json({"results": [{"text": text}]})

    async def stop(call: Call) -> Response:
        for run in programs.reply_of(call.caller.owner, "legacy"):
            run.cancel()
        return json({"results": "success"})

    endpoints = (
        Endpoint(
            "/api/v1/chat",
            writer.chat,
            takes=fields.Chat,
            samples=True,
            summary="A conversation goes on.",
        ),
        Endpoint("/api/v1/token-count", count, takes=fields.Count, summary="How many tokens."),
        Endpoint("/api/v1/token/encode", encode, takes=fields.Encode, summary="Tokens of a text."),
        Endpoint("/api/v1/token/decode", decode, takes=fields.Decode, summary="Text of tokens."),
        Endpoint("/api/v1/stop-stream", stop, summary="Stops the caller's own replies."),
    )
    api = Api("legacy", "Legacy", endpoints)
    sockets = (
        WebSocketRoute("/api/v1/stream", Socket(writer.stream).serve),
        WebSocketRoute("/api/v1/chat-stream", Socket(writer.chat_stream).serve),
    )
    ext.add(NAMES, models.called)
    ext.add(APIS, api)
    ext.add(ROUTES, api.served(*sockets))
    ext.add(DIALECTS, Dialect("legacy", fields.OWN, writer.generate, "None", shelf.act))
    if ext.flag("api"):
        for port in dict.fromkeys(map(ext.flag, PORTS)):
            try:
                await ext.listen(port)
            except Refused as error:
                ext.log.warning("--api: %s", error)
