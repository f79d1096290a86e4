"""Which characters had another id before: who missed it still finds them, and is told."""

from pathlib import Path
from threading import Lock

import msgspec

from kernel.api import write

MOST = 1000
"""Names that are remembered, the newest."""


class Renames:
    """A small file of old and new ids. Blocking: use a thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._new: dict[str, str] | None = None
        self._writing = Lock()

    def new(self, id: str) -> str:
        """What is called otherwise by now; "" where nothing is known of it."""
        return self._read().get(id, "")

    def keep(self, old: str, new: str) -> None:
        """A character got another id, and so did all that led to it."""
        with self._writing:
            known = self._read().items()
            known = [(k, v) for k, v in known if k not in (old, new) and v != new]  # Gone since.
            names = {k: new if v == old else v for k, v in known}
            self._write({**names, old: new})

    def forget(self, id: str) -> None:
        """Somebody else has this id now."""
        if self.new(id):
            with self._writing:
                self._write({k: v for k, v in self._read().items() if k != id})

    def _read(self) -> dict[str, str]:
        if self._new is None:
            try:
                self._new = msgspec.json.decode(self._file.read_bytes(), type=dict[str, str])
            except (OSError, msgspec.DecodeError):
                self._new = {}
        return self._new

    def _write(self, names: dict[str, str]) -> None:
        self._new = dict([*names.items()][-MOST:])
        write(self._file, msgspec.json.encode(self._new))
