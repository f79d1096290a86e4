"""What Spindle does elsewhere than in this API: it says so, and where."""

from starlette.responses import Response

from extensions.api_kit.api import Call, Endpoint, refused

WHERE = (
    "Spindle does not {} models for programs of Ollama. Its models are files below the folder "
    "models/: put them there, or take them away."
)
REFUSED = (
    ("/api/pull", "POST", "download"),
    ("/api/push", "POST", "upload"),
    ("/api/create", "POST", "make"),
    ("/api/copy", "POST", "copy"),
    ("/api/delete", "DELETE", "delete"),
    ("/api/blobs/{digest}", "POST", "take in"),
)


def refusals() -> tuple[Endpoint, ...]:
    """A route for each."""
    return tuple(refusal(*each) for each in REFUSED)


def refusal(path: str, method: str, what: str) -> Endpoint:
    async def refuse(call: Call) -> Response:
        raise refused(WHERE.format(what), None, "unsupported")

    return Endpoint(path, refuse, method, summary=f"Refused: Spindle does not {what} models here.")  # type: ignore[arg-type]
