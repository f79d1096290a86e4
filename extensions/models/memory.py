"""What was loaded last, and how each model was loaded: a small file in the data folder."""

import logging
from pathlib import Path
from typing import Any

import msgspec

from kernel.api import write

log = logging.getLogger(__name__)


class Choice(msgspec.Struct, frozen=True):
    """A model as it was loaded: its loader, and the options that differ from the defaults."""

    loader: str = ""
    options: dict[str, Any] = {}


class Remembered(msgspec.Struct, frozen=True):
    """The file's content."""

    last: str = ""
    choices: dict[str, Choice] = {}


class Memory:
    """Reads once; writes a whole new file and puts it in place of the old."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._now = msgspec.json.decode(file.read_bytes(), type=Remembered)
        except FileNotFoundError:
            self._now = Remembered()
        except (OSError, ValueError) as error:
            self._now = Remembered()  # A convenience: what cannot be read is begun anew.
            log.warning(
                "%s cannot be read (%s). Which model was loaded last, and how, is forgotten; "
                "load one in the page.",
                file, error,
            )  # fmt: skip

    @property
    def last(self) -> str:
        return self._now.last

    def choice(self, name: str) -> Choice:
        return self._now.choices.get(name, Choice())

    def loaded(self, name: str, choice: Choice) -> None:
        """Remember that `name` was loaded with `choice`; blocking."""
        self._now = Remembered(name, {**self._now.choices, name: choice})
        write(self._file, msgspec.json.encode(self._now))
