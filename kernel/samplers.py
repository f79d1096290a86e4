"""Sampling parameters that loaders add: described by a struct, checked before they are sent."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from kernel.checks import check, unknown
from kernel.contract import ModelInfo, Refused, Request
from kernel.points import Point


class Samplers(msgspec.Struct, frozen=True):
    """Sampling parameters of one loader: the fields of `kind` become form fields wherever
    parameters are shown, and travel in `Sampling.extra` as plain data."""

    loader: str
    """What its models say in `ModelInfo.loader`; they name "extra" in `ModelInfo.samplers`."""
    kind: type[msgspec.Struct]

    def __post_init__(self) -> None:
        if not hasattr(cast(Any, self.kind), "__struct_fields__"):
            raise TypeError("the kind of Samplers is a Struct class")


SAMPLERS: Point[Samplers] = Point("samplers", "Sampling parameters that a loader adds.", Samplers)


def checked(request: Request, info: ModelInfo, kinds: Sequence[type[msgspec.Struct]]) -> Request:
    """The request with its loader's own parameters as plain data; raises Refused, also for what
    the model cannot do, whatever its engine would make of that."""
    if lacks := [need for need in request.needs() if need not in info.capabilities]:
        raise info.refusal(lacks)
    if not (asked := request.sampling.extra):
        return request
    rest, plain, problems = dict(asked), dict[str, Any](), list[str]()
    for kind in kinds:
        mine = {name: rest.pop(name) for name in kind.__struct_fields__ if name in rest}
        good, bad = check(kind, mine)
        good = {name: value for name, value in good.items() if value is not msgspec.UNSET}
        plain |= msgspec.to_builtins(good)
        problems += bad.values()
    names = [name for kind in kinds for name in kind.__struct_fields__]
    problems += [unknown(name, names, "sampling parameter") for name in rest]
    if problems:
        raise Refused(" ".join(problems))
    sampling = msgspec.structs.replace(request.sampling, extra=plain)
    return msgspec.structs.replace(request, sampling=sampling)
