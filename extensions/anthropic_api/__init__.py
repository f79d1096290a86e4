"""Lets programs that speak Anthropic's API use the model."""

from typing import Annotated

from starlette.responses import Response

from extensions.api_kit.api import APIS, NAMES, PROGRAMS, Api, Call, Endpoint, Loader, json
from extensions.models.api import MODELS
from kernel.api import ROUTES, Extension, Meta, SettingsChanged, Struct

from . import answers, asking, replies
from .tongue import Anthropic


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
    programs, may = ext.one(PROGRAMS), lambda: ext.settings.load_by_name
    models = ext.one(MODELS)
    loader = Loader(programs.holding, models, may)

    @ext.on(SettingsChanged)
    async def settings_changed(_: SettingsChanged) -> None:
        """They are read when they are needed: no reply is cut off by a change."""

    async def message(call: Call) -> Response | None:
        body, wish = await asking.asked(programs, loader.want, call, asking.Body)
        if body.stream:
            return await replies.streamed(programs, call, body, wish)
        return await replies.whole(programs, call, body, wish)

    async def count(call: Call) -> Response:
        _, wish = await asking.asked(programs, loader.want, call, asking.Question)
        request = await programs.request(call, wish)
        return json(answers.Counted(input_tokens=await programs.count(request)))

    api = Api(
        "anthropic",
        "Anthropic",
        (
            Endpoint(
                "/v1/messages",
                message,
                takes=asking.Body,
                gives=answers.Message,
                events=answers.Event,
                summary="A reply to a conversation, whole or as a stream.",
            ),
            Endpoint(
                "/v1/messages/count_tokens",
                count,
                takes=asking.Question,
                gives=answers.Counted,
                summary="The tokens that a conversation has for the loaded model.",
            ),
        ),
        Anthropic(),
    )
    ext.add(NAMES, models.called)
    ext.add(APIS, api)
    ext.add(ROUTES, api.served())
