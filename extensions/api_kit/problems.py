"""What a program is told when something cannot be done."""

import msgspec
from starlette.responses import Response

Kind = str
STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "method_error": 405,
    "conflict_error": 409,
    "too_large_error": 413,
    "rate_limit_error": 429,
    "engine_error": 500,
    "unavailable_error": 503,
}
"""The types of errors, and the HTTP status of each."""
LATER = (429, 503)
"""What may go well when it is asked again."""
NO_MODEL = "no_model"
"""The word for a model that neither is there nor comes: asking again is in vain until a person
loads one."""
CANCELLED = "cancelled"
"""The word for what somebody stopped while it waited, who does not want it asked again."""


class Fault(msgspec.Struct, frozen=True):
    """The body of every error: a sentence, its type, the field it is about, a word to test for."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None

    @property
    def status(self) -> int:
        return STATUS[self.type]

    @property
    def headers(self) -> dict[str, str]:
        """When to ask again, or that this would be in vain (openai-python reads the second)."""
        if self.status in LATER and self.code not in (NO_MODEL, CANCELLED):
            return {"retry-after": "1"}
        return {"x-should-retry": "false"}

    def response(self, text: str = "") -> Response:
        """As an HTTP answer; `text` is what was said before it went wrong."""
        body: dict[str, object] = {"error": self, **({"text": text} if text else {})}
        return Response(msgspec.json.encode(body), self.status, self.headers, "application/json")

    def event(self) -> bytes:
        """As an event of a stream that had begun."""
        return b"data: " + msgspec.json.encode({"error": self}) + b"\n\n"


class Problem(Exception):
    """Raised where a program's wish is refused."""

    def __init__(self, fault: Fault, after: int = 0) -> None:
        super().__init__(fault.message)
        self.fault, self.after = fault, after
        """What is told, and the seconds to wait before it is asked again, where they are known."""


def refused(message: str, param: str | None = None, code: str = "invalid_request") -> Problem:
    """The program asked for what cannot be done."""
    return Problem(Fault(message, "invalid_request_error", param, code))


def missing(message: str, param: str | None = None, code: str = "not_found") -> Problem:
    """The program asked for what is not there."""
    return Problem(Fault(message, "not_found_error", param, code))


def no_such_model(id: str) -> Problem:
    """The program named a model that is not there."""
    says = f"There is no model {id or 'without a name'}. GET /v1/models lists them."
    return missing(says, "model", "model_not_found")


def no_model(message: str) -> Problem:
    """Nothing is loaded, and nothing loads."""
    return Problem(Fault(message, "unavailable_error", None, NO_MODEL))


def unavailable(message: str, code: str = "unavailable") -> Problem:
    """It may go well later."""
    return Problem(Fault(message, "unavailable_error", None, code))
