"""Speech, hearing and pictures, by whichever extension offers them; and what nobody does."""

import base64
import logging
import re
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.responses import PlainTextResponse, Response

from extensions.api_kit.api import (
    HEARING,
    PICTURES,
    SPEECH,
    Call,
    Endpoint,
    Fault,
    Listener,
    Problem,
    json,
    missing,
    refused,
)
from kernel.api import Meta, Point, Refused

log = logging.getLogger(__name__)
LONGEST = 4096
"""Characters that are spoken at once, as OpenAI has it."""
SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})", re.ASCII)
NOBODY = "No extension that runs {}. Switch one on in Settings, or install one."
MODERATES = "judges texts (/v1/moderations)"
SPEAKS = "speaks (/v1/audio/speech)"
HEARS = "writes down recordings (/v1/audio/transcriptions)"
PAINTS = "makes pictures (/v1/images/generations)"


class Speech(msgspec.Struct, kw_only=True):
    """What is to be spoken."""

    input: Annotated[str, Meta(min_length=1, max_length=LONGEST)]
    model: str | None = None
    voice: Any = None
    instructions: str | None = None
    response_format: str | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None


class Heard(msgspec.Struct):
    """What was said."""

    text: str


class Picture(msgspec.Struct, kw_only=True):
    """What is to be seen; `batch_size` is `n` by another name."""

    prompt: Annotated[str, Meta(min_length=1)]
    negative_prompt: str | None = None
    size: str | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    batch_size: Annotated[int, Meta(ge=1, le=16)] | None = None
    response_format: Literal["b64_json"] | None = None


class Painted(msgspec.Struct):
    """A picture, as PNG in base64."""

    b64_json: str


class Pictures(msgspec.Struct):
    """All of them."""

    created: int
    data: list[Painted]


class Used(msgspec.Struct):
    """What is to be paid: nothing."""

    object: Literal["list"] = "list"
    total_usage: int = 0


class Media:
    """The routes; `get` answers what is contributed to a point."""

    def __init__(self, get: Callable[[Point[Any]], list[Any]]) -> None:
        self._get = get

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("/v1/audio/speech", self.speak, takes=Speech, summary="A text, spoken."),
            Endpoint("/v1/audio/transcriptions", self.hear, gives=Heard,
                     summary="The words of a recording, sent as a form with a file."),
            Endpoint("/v1/images/generations", self.paint, takes=Picture, gives=Pictures,
                     summary="Pictures of words."),
            Endpoint("/v1/moderations", self.judge, summary="Refused: nothing here judges texts."),
            Endpoint("/v1/billing/usage", self.used, "GET", gives=Used, summary="Always nothing."),
        )  # fmt: skip

    async def speak(self, call: Call) -> Response:
        speaker = self._one(SPEECH, SPEAKS)
        body: Speech = call.read(Speech)
        format = body.response_format or speaker.formats[0]
        if format not in speaker.formats:
            says = f"response_format: Spindle can give {', '.join(speaker.formats)} here."
            raise refused(says, "response_format", "unsupported_value")
        voice = body.voice if isinstance(body.voice, str) else ""
        speed = 1.0 if body.speed is None else body.speed
        clip = await told(speaker.speak(body.input, voice, speed, format), "input")
        return Response(clip.data, media_type=clip.media_type)

    async def hear(self, call: Call) -> Response:
        listener = self._one(HEARING, HEARS)
        try:
            async with call.form() as form:
                return await self._heard(listener, form)
        except MultiPartException as error:
            raise refused(f"This form cannot be read: {error.message}", None, "bad_form") from None

    async def _heard(self, listener: Listener, form: FormData) -> Response:
        file, format = form.get("file"), form.get("response_format") or "json"
        if not isinstance(file, UploadFile):
            says = "file: There is none. Send the recording as a file of a form."
            raise refused(says, "file", "missing_file")
        if format not in ("json", "text"):
            says = "response_format: Expected json or text."
            raise refused(says, "response_format", "unsupported_value")
        language = form.get("language")
        language = language if isinstance(language, str) else ""
        words = await told(listener.hear(await file.read(), file.filename or "", language), "file")
        return PlainTextResponse(words) if format == "text" else json(Heard(words))

    async def paint(self, call: Call) -> Response:
        painter = self._one(PICTURES, PAINTS)
        body: Picture = call.read(Picture)
        found = SIZE.fullmatch(body.size or "1024x1024")
        if not found:
            raise refused("size: Expected one such as 1024x1024.", "size", "invalid_value")
        size = int(found[1]), int(found[2])
        many = body.n or body.batch_size or 1
        work = painter.paint(body.prompt, body.negative_prompt or "", size, many)
        data = [Painted(base64.b64encode(each).decode()) for each in await told(work, "prompt")]
        return json(Pictures(int(time.time()), data))

    async def judge(self, call: Call) -> Response:
        raise nobody(MODERATES)

    async def used(self, call: Call) -> Response:
        return json(Used())

    def _one(self, point: Point[Any], does: str) -> Any:
        """The first who offers it; raises Problem (404)."""
        for each in self._get(point):
            return each
        raise nobody(does)


def nobody(does: str) -> Problem:
    """What is said where nobody offers it."""
    return missing(NOBODY.format(does), None, "not_offered")


async def told(work: Any, param: str) -> Any:
    """What it answers; raises Problem for what it refuses, and where it fails."""
    try:
        return await work
    except Refused as error:
        raise refused(str(error), param, "refused") from None
    except Exception as error:  # Another extension's: this one is not to be set aside for it.
        log.warning("An extension failed at what it offers to programs.", exc_info=error)
        says = "The extension that offers this failed at it. Spindle's log says why."
        raise Problem(Fault(says, "engine_error", None, "failed")) from error
