"""Memory that runs out, as a sentence; a graphics card that is lost, as the end of the process."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kernel.contract import EngineFailed, Refused

STARVED = re.compile(r"out of memory|(not enough|allocate) memory", re.IGNORECASE)


@contextmanager
def explained(doing: str, device: str, remedy: str) -> Iterator[None]:
    """Say what an error means that comes while `doing` that.

    After some errors of CUDA every later call in this process fails: then the process ends, so
    that the server starts another one.
    """
    try:
        yield
    except (Refused, EngineFailed):
        raise
    except Exception as error:
        if starved(error):
            where = "The engine" if device == "cpu" else "The graphics card"
            raise EngineFailed(f"{where} ran out of memory while {doing}. {remedy}") from error
        if lost():
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SystemExit(f"The graphics card failed while {doing} ({reason}).") from error
        raise


def starved(error: Exception) -> bool:
    """Whether memory ran out; what PyTorch holds back for later is then given back."""
    if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not (
        isinstance(error, RuntimeError) and STARVED.search(str(error))
    ):
        return False
    if torch.cuda.is_initialized() and not lost():
        torch.cuda.empty_cache()
    return True


def lost() -> bool:
    """Whether the graphics card answers no more to this process."""
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
