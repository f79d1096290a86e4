"""Lets programs that speak to llama.cpp's own server use the model."""

from typing import Any

from starlette.responses import Response

from extensions.api_kit.api import APIS, PROGRAMS, Api, Call, Endpoint, ModelRouter
from extensions.models.api import MODELS
from kernel.api import ROUTES, Extension

from . import answers, asked, conversations, replies, tokens
from .about import About
from .conversations import Templates
from .tokens import Tokens


async def setup(ext: Extension[Any]) -> None:
    programs = ext.one(PROGRAMS)
    about, counts, templates = About(programs), Tokens(programs), Templates(programs)

    async def complete(call: Call) -> Response | None:
        body, wishes, several = await asked.asked(programs, call)
        if body.stream:
            return await replies.streamed(programs, call, body, wishes)
        return await replies.whole(programs, call, body, wishes, several)

    def completion(path: str) -> Endpoint:
        return Endpoint(
            path,
            complete,
            takes=asked.Completion,
            samples=True,
            gives=answers.Completed,
            summary="A text goes on, whole or as a stream.",
        )

    endpoints = (
        completion("/completion"),
        completion("/completions"),
        Endpoint("/tokenize", counts.tokens, takes=tokens.Tokenize, summary="Text to tokens."),
        Endpoint("/detokenize", counts.text, takes=tokens.Detokenize, summary="Tokens to text."),
        Endpoint(
            "/apply-template",
            templates.apply,
            takes=conversations.Apply,
            gives=conversations.Applied,
            summary="The prompt that a conversation becomes.",
        ),
        Endpoint(
            "/embedding",
            counts.embed,
            takes=tokens.Embed,
            gives=list[tokens.Vector],
            summary="Vectors of texts.",
        ),
        Endpoint("/health", about.health, "GET", summary="Whether a model is loaded."),
        Endpoint("/props", about.props, "GET", summary="What is loaded."),
        Endpoint("/slots", about.slots, "GET", summary="What goes on."),
        Endpoint("/slots/{id}", about.keep, summary="Refused: Spindle keeps what it read itself."),
        Endpoint("/infill", about.infill, summary="Refused: there is no such thing here."),
        *ModelRouter(ext.one(MODELS)).endpoints("/models"),
    )
    api = Api("llama_server", "llama-server", endpoints)
    ext.add(APIS, api)
    ext.add(ROUTES, api.served())
