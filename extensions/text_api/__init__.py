"""Two addresses that two APIs have in common, answered by the one that a request is meant for."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from extensions.api_kit.api import (
    APIS,
    PROGRAMS,
    Answer,
    Api,
    Call,
    Endpoint,
    Problem,
    json,
    read,
    unavailable,
)
from kernel.api import ROUTES, Extension

from .api import DIALECTS, Dialect

NOBODY = "None"
OFF = "No API answers here. Switch the Kobold API or the Legacy API on in Settings."


async def setup(ext: Extension[Any]) -> None:
    programs = ext.one(PROGRAMS)

    async def generate(call: Call) -> Response | None:
        said: Mapping[str, Any] = read(call.body or b"{}", dict[str, Any])
        known = ext.get(DIALECTS)
        if not known:
            raise unavailable(OFF, "switched_off")
        # Of several that know as much of it, max answers the first.
        chosen = max(known, key=lambda each: len(each.knows & said.keys()))
        return await spoken(chosen, chosen.generate, call)

    async def act(call: Call) -> Response | None:
        for dialect in ext.get(DIALECTS):
            if dialect.act:
                return await spoken(dialect, dialect.act, call)
        raise unavailable("This is of the Legacy API. Switch it on in Settings.", "switched_off")

    async def model(call: Call) -> Response:
        info, known = programs.info(), ext.get(DIALECTS)
        nobody = known[0].nobody if known else NOBODY
        return json({"result": programs.called(info) if info else nobody})

    endpoints = (
        Endpoint("/api/v1/generate", generate, summary="A text goes on."),
        Endpoint("/api/v1/model", model, "GET", summary="The name of the loaded model."),
        Endpoint("/api/v1/model", act, summary="Lists, loads and unloads models."),
    )
    api = Api("text", "Text", endpoints)
    ext.add(APIS, api)
    ext.add(ROUTES, api.served())


async def spoken(dialect: Dialect, answer: Answer, call: Call) -> Response | None:
    """What a dialect answers, its refusals in its own words."""
    call.api = dialect.api
    try:
        return await answer(call)
    except Problem as problem:
        if problem.after:
            call.headers["retry-after"] = str(problem.after)
        return dialect.tongue.response(problem.fault)
