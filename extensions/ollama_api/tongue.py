"""Errors as Ollama writes them."""

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Fault, Tongue

LINES = "application/x-ndjson"


class Ollama(Tongue):
    """A sentence alone: with a status, and in a stream as its last line."""

    stream_type = LINES

    def response(self, fault: Fault) -> Response:
        return Response(told(fault), fault.status, fault.headers, "application/json")

    def event(self, fault: Fault) -> bytes:
        return told(fault) + b"\n"


def told(fault: Fault) -> bytes:
    return msgspec.json.encode({"error": fault.message})
