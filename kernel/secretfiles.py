"""Settings that are never shown: each section's in a file of its own, for nobody else to read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kernel.files import set_aside, write


class SecretFiles:
    """One file a section, `data/secrets/extensions.tts.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: Sequence[str], *, must: bool = True) -> dict[str, str]:
        """The secrets of a section; a file that is damaged is set aside. Raises OSError, or where
        they need not be known answers none."""
        file = self._file(path)
        try:
            return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except OSError:
            if must:
                raise
            return {}
        except ValueError:
            set_aside(file, f"The secrets of {path[-1]} must be entered again, in Settings.")
            return {}

    def write(self, path: Sequence[str], secrets: Mapping[str, str]) -> None:
        """Replace them; raises OSError."""
        write(self._file(path), msgspec.json.encode(secrets), 0o600)

    def _file(self, path: Sequence[str]) -> Path:
        return self._folder / f"{'.'.join(path)}.json"
