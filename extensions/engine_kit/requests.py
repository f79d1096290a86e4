"""What an engine checks of every request, and how it says what went wrong."""

import traceback
from typing import Any

from kernel.contract import (
    UNSET,
    EngineFailed,
    Finish,
    ModelInfo,
    Refused,
    Request,
    Sampling,
    Usage,
    parameters,
)

NEUTRAL: dict[str, Any] = {
    **{known.name: known.neutral for known in parameters().values() if known.neutral is not None},
    "sampler_priority": (),  # unset is the loader's own order
    "extra": {},
}
"""The value of each `Sampling` field at which it changes nothing: what unset means."""
TUNES = {known.name for known in parameters().values() if known.tunes} | {"truncation_length"}
"""Fields that tune another one, and alone do nothing, or are the server's to honour."""


STARVED = "The memory ran out. Close other programs, or load a smaller model, or a shorter context."


def neutral(sampling: Sampling, name: str) -> Any:
    """A field's value, or what changes nothing where it is unset."""
    value = getattr(sampling, name)
    return NEUTRAL.get(name) if value is UNSET else value


def unsupported(sampling: Sampling, known: tuple[str, ...]) -> list[str]:
    """The fields that ask for something and are not in `known`; what a loader adds by its names."""
    return [
        each
        for name in sampling.__struct_fields__
        if name not in known and name not in TUNES
        and getattr(sampling, name) is not UNSET
        and getattr(sampling, name) != NEUTRAL.get(name)
        for each in (neutral(sampling, name) if name == "extra" else (name,))
    ]  # fmt: skip


def check_request(info: ModelInfo, request: Request) -> None:
    """Refuse what the model cannot do, by the names of both; never go on without."""
    given = [request.messages, request.prompt, request.token_ids]
    if sum(each is not None for each in given) != 1:
        raise Refused("A request has either messages, or a prompt, or token ids. Send one of them.")
    lacks: list[str] = [need for need in request.needs() if need not in info.capabilities]
    lacks += unsupported(request.sampling, info.samplers)
    if lacks:
        raise info.refusal(lacks)


def finish_of(error: BaseException, usage: Usage | None = None) -> Finish:
    """The end of a request that failed; what is no sentence for a person is printed, too."""
    said, usage = str(error), usage or Usage()
    if isinstance(error, Refused):
        return Finish("error", error=said, usage=usage, refused=error.refused)
    if isinstance(error, MemoryError):
        return Finish("error", error=STARVED, usage=usage)
    if not isinstance(error, EngineFailed):
        traceback.print_exception(error)
        said = f"The engine failed: {type(error).__name__}: {error}"[:2000]
    return Finish("error", error=said, usage=usage)
