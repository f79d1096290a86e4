"""What the ways of talking share: the point where it is found, and the options of a turn."""

from kernel.api import Point

from .cast import Cast, CastChanged, CastRenamed, Face
from .fitting import Build, LeftOut
from .library import Beside, Chosen, Says
from .options import Options, alternating, system
from .rendering import rendered
from .service import Prompts

__all__ = [
    "CAST", "PROMPTS", "TEMPLATES", "Beside", "Build", "Cast", "CastChanged", "CastRenamed",
    "Chosen", "Face", "LeftOut", "Options", "Prompts", "Says", "alternating", "rendered", "system",
]  # fmt: skip

PROMPTS: Point[Prompts] = Point("prompts", "What modes share in building prompts.")
TEMPLATES: Point[Says] = Point("templates", "Who else says which template a model gets.")
CAST: Point[Cast] = Point("cast", "Characters and personas that a conversation may have.")
