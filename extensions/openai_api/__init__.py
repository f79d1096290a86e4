"""Lets programs that speak OpenAI's API use the model."""

from typing import Annotated

from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from extensions.api_kit.api import (
    APIS,
    NAMES,
    PROGRAMS,
    Api,
    Call,
    Endpoint,
    Loader,
    ModelRouter,
)
from extensions.loras.api import LORAS
from extensions.models.api import MODELS
from extensions.parameters.api import PARAMETERS
from kernel.api import (
    LOADERS,
    MODES,
    ROUTES,
    Extension,
    Meta,
    SettingsChanged,
    SlotChanged,
    Struct,
)

from . import answers, chat, completions, replies, texts
from .adapters import Adapters
from .embeddings import Embeddings
from .governing import Governing
from .internal import Internal
from .kept import Kept
from .lanes import Lanes
from .media import Media
from .models import Catalogue, Engines, Listed, Model
from .responses import Responses
from .standing import Standing
from .tabby import Tabby


class Settings(Struct, frozen=True):
    """What programs may do."""

    load_by_name: Annotated[
        bool,
        Meta(
            description="A request that names another model loads it first. Off: the field `model` "
            "changes nothing."
        ),
    ] = False


async def setup(ext: Extension[Settings]) -> None:
    programs, models = ext.one(PROGRAMS), ext.one(MODELS)
    loader = Loader(programs.holding, models, lambda: ext.settings.load_by_name)
    standing, adapters = Standing(ext.slot()), Adapters(ext.one(LORAS))
    rest = chat.Rest(programs, ext.one(PARAMETERS), loader.want, lambda: ext.get(MODES), standing)
    catalogue = Catalogue(programs, models)

    governing = Governing(programs, models, lambda: ext.get(LOADERS), adapters, standing)

    responses = Responses(rest, Kept())

    async def talk(socket: WebSocket) -> None:
        await Lanes(socket, responses).serve()

    @ext.on(SettingsChanged)
    async def settings_changed(_: SettingsChanged) -> None:
        """They are read when they are needed: no reply is cut off by a change."""

    @ext.on(SlotChanged)
    async def model_changed(event: SlotChanged) -> None:
        if event.slot == "chat" and event.state == "ready":
            await catalogue.meet()

    ext.spawn(catalogue.meet(), "meet")

    async def complete(call: Call) -> Response | None:
        body, wish = await chat.asked(rest, call)
        if body.stream:
            return await replies.streamed(programs, call, body, wish)
        return await replies.whole(programs, call, body, wish)

    async def continue_text(call: Call) -> Response | None:
        asks = await completions.asked(rest, call)
        if asks.body.stream:
            return await texts.streamed(programs, call, asks)
        return await texts.whole(programs, call, asks)

    api = Api(
        "openai",
        "OpenAI",
        (
            Endpoint(
                "/v1/chat/completions",
                complete,
                takes=chat.Chat,
                gives=answers.Completion,
                events=answers.Chunk,
                summary="A reply to a conversation, whole or as a stream.",
                samples=True,
            ),
            Endpoint(
                "/v1/completions",
                continue_text,
                takes=completions.Body,
                gives=answers.TextCompletion,
                events=answers.TextChunk,
                summary="Continuations of texts, whole or as a stream.",
                samples=True,
            ),
            Endpoint(
                "/v1/models", catalogue.listed, "GET", gives=Listed, summary="The models there are."
            ),
            Endpoint(
                "/v1/models/{id:path}", catalogue.one, "GET", gives=Model, summary="One of them."
            ),
            Endpoint(
                "/v1/engines",
                catalogue.engines,
                "GET",
                gives=Engines,
                summary="The models there are, as programs of 2023 ask for them.",
            ),
            *Internal(rest).endpoints(),
            *governing.endpoints(),
            *ModelRouter(models).endpoints("/v1/models"),
            *responses.endpoints(),
            *Embeddings(programs).endpoints(),
            *Media(ext.get).endpoints(),
            *Tabby(programs, catalogue).endpoints(),
        ),
    )
    ext.add(NAMES, models.called)
    ext.add(APIS, api)
    ext.add(ROUTES, api.served(WebSocketRoute("/v1/responses", talk)))
