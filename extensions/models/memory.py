"""What was loaded last: a small file in the data folder."""

import logging
from pathlib import Path
from typing import Any

import msgspec

from kernel.api import built, write

log = logging.getLogger(__name__)


class Choice(msgspec.Struct, frozen=True):
    """A model as it was loaded: its loader, and the options that differ from the defaults."""

    loader: str = ""
    options: dict[str, Any] = {}


@built
class Remembered(msgspec.Struct, frozen=True):
    """The file's content; `choices` stand there since before there was config-user.yaml."""

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
                "%s cannot be read (%s). Which model was loaded last is forgotten; load one in "
                "the page.",
                file, error,
            )  # fmt: skip

    @property
    def last(self) -> str:
        return self._now.last

    def choice(self, name: str) -> Choice | None:
        """How it was loaded before there was config-user.yaml."""
        return self._now.choices.get(name)

    def loaded(self, name: str, choice: Choice | None = None) -> None:
        """Remember that `name` was loaded, and how where that is not saved elsewhere; blocking."""
        choices = {k: v for k, v in self._now.choices.items() if k != name}
        self._write(Remembered(name, {**choices, **({name: choice} if choice else {})}))

    def forget(self, name: str) -> None:
        """How it was loaded stands elsewhere now; blocking."""
        if name in self._now.choices:
            choices = {k: v for k, v in self._now.choices.items() if k != name}
            self._write(Remembered(self._now.last, choices))

    def _write(self, now: Remembered) -> None:
        self._now = now
        write(self._file, msgspec.json.encode(now))
