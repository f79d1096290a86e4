"""What all APIs share; by itself it shows only the limits that hold for all of them."""

from typing import Annotated

from kernel.api import (
    GENERATE,
    REQUEST,
    Extension,
    Meta,
    Phase,
    SettingsChanged,
    SlotChanged,
    Struct,
)

from .calls import Asking
from .composing import stop
from .gate import Gate
from .programs import PROGRAMS, Programs
from .runs import Runs
from .tools import uncalled
from .wishes import ask

TOGETHER = 16
"""Replies that an engine which batches is given at once, where it does not say how many."""


class Settings(Struct, frozen=True):
    """How programs share the model."""

    at_once: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Replies that programs have under way at once; 0 is what the engine is "
            "good for: as many as it writes together (16 where it does not say), else 1.",
        ),
    ] = 0
    queue: Annotated[
        int, Meta(ge=0, le=100_000, description="Requests that may wait for their turn.")
    ] = 256
    at_once_each: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Requests that one program may have at once, and replies that are made for "
            "it at once; 0: any number.",
        ),
    ] = 0


async def setup(ext: Extension[Settings]) -> None:
    def room() -> int:
        model = ext.slot().model
        batches = bool(model and "batch" in model.info.capabilities)
        several = model.info.together or TOGETHER if model and batches else 1
        return ext.settings.at_once or several

    def limit(call: Asking) -> int:
        limits = (ext.settings.at_once_each, call.caller.at_once)
        return min((each for each in limits if each), default=0)

    gate = Gate(room, lambda: ext.settings.queue)
    programs = Programs(ext, Runs(ext, gate, limit))
    ext.add(PROGRAMS, programs)
    ext.on(REQUEST, phase=Phase.EARLY)(ask)
    ext.on(GENERATE, phase=Phase.EARLY)(stop)
    ext.on(GENERATE, phase=Phase.LATE)(uncalled)

    @ext.on(SlotChanged)
    async def model_changed(event: SlotChanged) -> None:
        programs.heard(event)
        gate.admit()

    @ext.on(SettingsChanged)
    async def settings_changed(_: SettingsChanged) -> None:
        """They are read when they are needed; there may be room for more now."""
        gate.admit()
