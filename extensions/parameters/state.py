"""What the user chose, kept in a file of the extension's own: it outlives a restart."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import structs

from kernel.api import Refused, Sampling, Struct, built, write

log = logging.getLogger(__name__)
UNKEPT = "This holds until Spindle ends; it cannot be kept: {}. Free some space."
Constraint = Literal["", "grammar", "schema"]


@built
class Chosen(Struct, frozen=True):
    """All of it; what is unset in `sampling` is left to the model, or neutral after a preset."""

    sampling: Sampling = Sampling()
    extra: Mapping[str, Any] = {}
    """What loaders add, by name; also of loaders that are not there now."""
    preset: str = ""
    neutral: bool = False
    """What is not said changes nothing, instead of being what the model's own files say."""
    bans: str = ""
    biases: str = ""
    """As typed: numbers, or texts that become numbers with the model that is loaded then."""
    constraint: Constraint = ""
    grammar: str = ""
    grammar_file: str = ""
    schema: str = ""
    model: str = ""
    """The last model that was there: another one brings its preset along."""
    standard: str = ""
    """The preset of models that have none of their own."""
    standards: Mapping[str, str] = {}
    """Presets of models, by their names."""


class Keeper:
    """Holds what is chosen; a change is on the disk when `change` comes back."""

    def __init__(self, file: Path) -> None:
        self.now = Chosen()
        self._file, self._lock = file, asyncio.Lock()

    def load(self) -> None:
        """Read the file; one that cannot be read is put aside, and all is as at first."""
        try:
            self.now = msgspec.json.decode(self._file.read_bytes(), type=Chosen)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            aside = self._file.with_name(f"{self._file.name}.damaged")
            with suppress(OSError):
                self._file.replace(aside)
            log.warning("The parameters could not be read (%s). They are kept as %s.", error, aside)

    async def change(self, **fields: Any) -> None:
        """Make a choice; the newest is written, whoever else chooses meanwhile."""
        self.now = structs.replace(self.now, **fields)
        async with self._lock:
            try:
                await asyncio.to_thread(write, self._file, msgspec.json.encode(self.now))
            except OSError as error:
                raise Refused(UNKEPT.format(error.strerror or error)) from error
