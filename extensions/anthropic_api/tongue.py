"""Errors as Anthropic writes them."""

from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Fault, Tongue

TYPES = {
    "method_error": "invalid_request_error",
    "too_large_error": "request_too_large",
    "engine_error": "api_error",
    "unavailable_error": "overloaded_error",
}
"""What is called otherwise there."""


def told(fault: Fault) -> dict[str, Any]:
    """The body of an error."""
    error = {"type": TYPES.get(fault.type, fault.type), "message": fault.message}
    return {"type": "error", "error": error}


class Anthropic(Tongue):
    """With a status, and in a stream as the event `error`."""

    id_header = "request-id"

    def response(self, fault: Fault) -> Response:
        data = msgspec.json.encode(told(fault))
        return Response(data, fault.status, fault.headers, "application/json")

    def event(self, fault: Fault) -> bytes:
        return b"event: error\ndata: " + msgspec.json.encode(told(fault)) + b"\n\n"
