"""Lets programs that speak to KoboldAI or KoboldCpp use the model."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import APIS, PROGRAMS, Api, Call, Endpoint, json
from extensions.prompts.api import PROMPTS
from extensions.text_api.api import DIALECTS, Dialect
from kernel.api import (
    ROUTES,
    SAMPLERS,
    Extension,
    Meta,
    SettingsChanged,
    Struct,
)

from . import asked, replies
from .about import About
from .placeholders import Marks, marks_of
from .tokens import Tokens
from .under_way import Register

NOBODY = "ReadOnly"
"""What KoboldAI calls the model where none is loaded; SillyTavern looks for it."""


CONTEXT = "Tokens that the model has room for."
LENGTH = "Tokens of a reply where a program does not say."
SOFT = "There are no soft prompts any more: nothing."


class Settings(Struct, frozen=True):
    """What a request that does not say it gets."""

    max_length: Annotated[
        int,
        Meta(ge=1, le=100_000, description=LENGTH),
    ] = 512


class Key(msgspec.Struct):
    """Which reply is meant."""

    genkey: str | None = None


async def setup(ext: Extension[Settings]) -> None:
    programs, prompts = ext.one(PROGRAMS), ext.one(PROMPTS)
    register, counts = Register(programs), Tokens(programs)
    about = About(programs, lambda: ext.settings.max_length)
    programs.runs.watchers.append(about.ended)
    ext.defer(lambda: programs.runs.watchers.remove(about.ended))

    @ext.on(SettingsChanged)
    async def settings_changed(_: SettingsChanged) -> None:
        """They are read when they are needed: no reply is cut off by a change."""

    async def marks() -> Marks:
        await programs.awake()
        return await marks_of(prompts)

    async def known() -> asked.Known:
        info = await programs.known_model()
        loader = info.loader if info and "extra" in info.samplers else ""
        kinds = [each.kind for each in ext.get(SAMPLERS) if each.loader == loader]
        bans = any("banned_strings" in kind.__struct_fields__ for kind in kinds)
        return asked.Known(ext.settings.max_length, info, bans, programs.sampling, marks)

    async def generate(call: Call) -> Response:
        return await replies.whole(programs, register, call, known)

    async def stream(call: Call) -> None:
        await replies.streamed(programs, register, call, known)

    async def check(call: Call) -> Response:
        key = call.read(Key).genkey or ""
        texts = register.texts(call.caller.owner, key)
        return json({"results": [{"text": text} for text in texts]})

    async def abort(call: Call) -> Response:
        stopped = register.abort(call.caller.owner, call.read(Key).genkey or "")
        return json({"success": "true" if stopped else "false", "done": "true"})

    async def model(call: Call) -> Response:
        info = programs.info()
        return json({"result": info.name if info else NOBODY})

    def everywhere() -> Iterator[Endpoint]:
        """What is at /api/v1 and at /api/latest."""
        for at in ("/api/v1", "/api/latest"):
            yield Endpoint(f"{at}/info/version", about.version, "GET", summary="Of the API.")
            config = f"{at}/config"
            yield Endpoint(f"{config}/max_context_length", about.context, "GET", summary=CONTEXT)
            yield Endpoint(f"{config}/max_length", about.length, "GET", summary=LENGTH)
            yield Endpoint(f"{config}/soft_prompt", about.soft_prompt, "GET", summary=SOFT)
            yield Endpoint(f"{config}/soft_prompts_list", about.soft_prompts, "GET", summary=SOFT)

    body = {"takes": asked.Generate, "samples": True}
    checks = {"gives": replies.Results, "summary": "What was written so far of the caller's own."}
    extra = "/api/extra"
    endpoints = (
        *everywhere(),
        Endpoint(
            "/api/latest/generate",
            generate,
            gives=replies.Results,
            summary="A text goes on.",
            **body,
        ),
        Endpoint("/api/latest/model", model, "GET", summary="The name of the loaded model."),
        Endpoint(f"{extra}/version", about.koboldcpp, "GET", summary="What there is."),
        Endpoint(f"{extra}/true_max_context_length", about.context, "GET", summary=CONTEXT),
        Endpoint(f"{extra}/perf", about.perf, "GET", summary="How fast it is."),
        *counts.endpoints(extra),
        Endpoint(
            f"{extra}/generate/stream",
            stream,
            events=replies.Token,
            summary="A text goes on, word by word.",
            **body,
        ),
        Endpoint(f"{extra}/generate/check", check, takes=Key, **checks),
        Endpoint(f"{extra}/generate/check", check, "GET", **checks),
        Endpoint(f"{extra}/abort", abort, takes=Key, summary="Stops the caller's own reply."),
    )
    tongue = replies.Kobold()
    api = Api("kobold", "Kobold", endpoints, tongue)
    ext.add(APIS, api)
    ext.add(ROUTES, api.served())
    ext.add(DIALECTS, Dialect("kobold", asked.OWN, generate, NOBODY, tongue=tongue))
