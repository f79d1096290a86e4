"""What a program is told when something cannot be done."""

import msgspec
from starlette.responses import Response

Kind = str
STATUS = {
    "invalid_request_error": 400,
    "not_found_error": 404,
    "too_large_error": 413,
    "rate_limit_error": 429,
    "engine_error": 500,
    "unavailable_error": 503,
}
"""The types of errors, and the HTTP status of each."""


class Fault(msgspec.Struct, frozen=True):
    """The body of every error: a sentence, its type, the field it is about, a word to test for."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None

    @property
    def status(self) -> int:
        return STATUS[self.type]

    def response(self, text: str = "") -> Response:
        """As an HTTP answer; `text` is what was said before it went wrong."""
        body: dict[str, object] = {"error": self, **({"text": text} if text else {})}
        data, headers = msgspec.json.encode(body), {"retry-after": "1"}
        later = self.status in (429, 503)
        return Response(data, self.status, headers if later else {}, "application/json")


class Problem(Exception):
    """Raised where a program's wish is refused."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def refused(message: str, param: str | None, code: str = "invalid_request") -> Problem:
    return Problem(Fault(message, "invalid_request_error", param, code))


def unknown(stream: str) -> Problem:
    """The same for a stranger's reply as for none: nothing is given away."""
    return Problem(
        Fault(
            f"There is no reply {stream} for you. It ended more than ten minutes ago, Spindle was "
            "started again since, or it never began. Start it again.",
            "not_found_error",
            "stream",
            "stream_not_found",
        )
    )
