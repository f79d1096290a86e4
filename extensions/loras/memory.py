"""What is applied, kept over a restart: a small file in the data folder."""

import logging
from pathlib import Path

import msgspec

from kernel.api import Struct, built, write

log = logging.getLogger(__name__)
Weighted = tuple[tuple[str, float], ...]
"""Adapters by their names below loras/, each with its weight."""


@built
class Kept(Struct, frozen=True):
    """What is applied to one model."""

    model: str = ""
    """The path of its file or folder."""
    name: str = ""
    adapters: Weighted = ()
    own: Weighted = ()
    """Those that it was loaded with, when these were applied."""


def read(file: Path) -> Kept:
    """What was written last; what cannot be read is begun anew."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s). Choose the adapters anew.", file, error)
        return Kept()


def keep(file: Path, kept: Kept) -> None:
    """Write it in place of what was there; blocking."""
    write(file, msgspec.json.encode(kept))
