"""What an API needs to answer at the shared addresses."""

from extensions.api_kit.api import Answer, Tongue
from kernel.api import Point, Struct


class Dialect(Struct, frozen=True):
    """An API that speaks at /api/v1/generate and /api/v1/model."""

    api: str
    """Its name in the list of requests."""
    knows: frozenset[str]
    """Fields that only its programs send."""
    generate: Answer
    nobody: str
    """What it calls the model where none is loaded."""
    act: Answer | None = None
    """What a POST to /api/v1/model does."""
    tongue: Tongue = Tongue()


DIALECTS: Point[Dialect] = Point("dialects", "APIs that answer at /api/v1/generate.", Dialect)
