"""What an error of a conversion means, in words for a person."""

import errno
from pathlib import Path

from extensions.converter.limits import starved
from extensions.converter.outline import Program, Unfit
from kernel.contract import Refused

ANOTHER = "Look for a safetensors form of this model, or download it again."
DISTRUST = "Nothing of it was run. Do not trust where it came from; look for a safetensors form."


def sentence(error: BaseException, source: Path, part: Path) -> str:
    """What an error means, for a person; empty where it means nothing to one."""
    match error:
        case Refused():
            return str(error)
        case Program():
            return f"{source.name} was not opened, for {error}. {DISTRUST}"
        case Unfit():
            return f"{source.name} cannot be converted: {error}. {ANOTHER}"
        case MemoryError() | RuntimeError() | OSError() if starved(error):
            gigabytes = source.stat().st_size / 1e9
            return (
                f"There is not enough memory to convert {source.name}, which has "
                f"{gigabytes:.1f} GB. Close other programs, or convert it on another machine."
            )
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return f"The disk is full: {part.parent.name} has no room for {part.name}. Free some."
        case OSError():
            why = error.strerror or type(error).__name__
            return f"{source.name} was not converted: {why}. Mend that, then try again."
    if type(error).__module__ in ("pickle", "_pickle"):  # PyTorch refused what we let pass.
        return f"{source.name} was not opened, for PyTorch does not trust it. {DISTRUST}"
    return ""
