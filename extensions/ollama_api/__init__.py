"""Lets programs that speak Ollama's API use the model."""

from functools import partial
from typing import Annotated

from starlette.responses import Response

from extensions.api_kit.api import APIS, NAMES, PROGRAMS, Api, Call, Endpoint, json
from extensions.models.api import MODELS
from kernel.api import ROUTES, Extension, Meta, SettingsChanged, Struct

from . import answers, asking, replies, vectors
from .keeping import Keeper
from .listing import Listing, Processes, Tags
from .refusing import refusals
from .showing import Show, Showing, Shown
from .tongue import Ollama

SPOKEN = "0.12.6"
"""The release of Ollama whose API this is: clients refuse to talk to older ones than they know."""


class Settings(Struct, frozen=True):
    """What programs may do."""

    load_by_name: Annotated[
        bool,
        Meta(
            description="A request that names another model loads it first, and one that says so "
            "unloads it. Off: the field `model` changes nothing."
        ),
    ] = False


async def setup(ext: Extension[Settings]) -> None:
    programs, models = ext.one(PROGRAMS), ext.one(MODELS)
    keeper = Keeper(ext.slot(), programs, models, lambda: ext.settings.load_by_name)
    listing = Listing(ext, models)
    showing = Showing(ext, listing)

    @ext.on(SettingsChanged)
    async def settings_changed(_: SettingsChanged) -> None:
        """They are read when they are needed: no reply is cut off by a change."""

    async def chat(call: Call) -> Response | None:
        body = asking.read_body(call, asking.Chat)
        if not body.messages:
            return await keeper.load_or_unload(call, body, replies.CHAT)
        wish = asking.chat(body)
        spent = await keeper.want(call, body.model)
        after = partial(keeper.after, call, body)
        return await replies.answered(programs, call, body, wish, replies.CHAT, spent, after)

    async def generate(call: Call) -> Response | None:
        body = asking.read_body(call, asking.Generate)
        if not (body.prompt or body.suffix or body.images):
            return await keeper.load_or_unload(call, body, replies.GENERATE)
        wish = asking.generate(body)
        spent = await keeper.want(call, body.model)
        wish = await asking.with_suffix(programs, body, wish)
        after = partial(keeper.after, call, body)
        return await replies.answered(programs, call, body, wish, replies.GENERATE, spent, after)

    async def version(call: Call) -> Response:
        return json({"version": SPOKEN})

    vector = vectors.Vectors(programs)
    api = Api(
        "ollama",
        "Ollama",
        (
            Endpoint("/api/version", version, "GET", summary="The release of Ollama it is like."),
            Endpoint("/api/tags", listing.tags, "GET", gives=Tags, summary="The models there are."),
            Endpoint(
                "/api/ps", listing.running, "GET", gives=Processes, summary="Those that are loaded."
            ),
            Endpoint("/api/show", showing.show, takes=Show, gives=Shown, summary="One of them."),
            Endpoint(
                "/api/chat",
                chat,
                takes=asking.Chat,
                gives=answers.ChatLine,
                events=answers.ChatLine,
                summary="A reply to a conversation.",
            ),
            Endpoint(
                "/api/generate",
                generate,
                takes=asking.Generate,
                gives=answers.GenerateLine,
                events=answers.GenerateLine,
                summary="A reply to a question, or the continuation of a text.",
            ),
            Endpoint(
                "/api/embed",
                vector.embed,
                takes=vectors.Embed,
                gives=vectors.Embedded,
                summary="Texts as vectors.",
            ),
            Endpoint(
                "/api/embeddings",
                vector.embeddings,
                takes=vectors.Prompt,
                gives=vectors.Vector,
                summary="A text as a vector, in the older form.",
            ),
            *refusals(),
        ),
        Ollama(),
    )
    ext.add(NAMES, models.called)
    ext.add(APIS, api)
    ext.add(ROUTES, api.served())
