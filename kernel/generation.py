"""One reply of an engine, as the server's end of a worker sees it."""

from collections.abc import Callable

from kernel.checks import SettingsError
from kernel.contract import Finish, Output, Refused
from kernel.pipe import Pipe


class WorkerError(RuntimeError):
    """The worker refused or failed at one thing, and lives on; a sentence for the user.

    `refused` tells which of both, as that of `Finish` does.
    """

    def __init__(self, sentence: str = "", refused: str | None = None) -> None:
        super().__init__(sentence)
        self.refused = refused


class WorkerDied(ConnectionError):
    """The worker is gone; a sentence for the user says why."""


class NoModel(LookupError):
    """Nothing is loaded, or no running loader accepts the file."""


class LoadFailed(RuntimeError):
    """The model could not be loaded; the message is a sentence for the user."""

    @classmethod
    def of(cls, name: str, why: str) -> "LoadFailed":
        """In which a file is named once, where its refusal names it, too."""
        said = f"{name} did not load. {why}"
        return cls(said.replace(f". {name} cannot be loaded:", ":"))


class Replaced(LoadFailed):
    """Nothing is wrong with the model: somebody chose another while it was being loaded."""

    def __init__(self) -> None:
        super().__init__("Another choice replaced this one.")


GONE = (NoModel, LoadFailed, WorkerError, WorkerDied)
"""A model fails or is not there: not the fault of an extension that asked it."""
TOLD = (Refused, SettingsError, OSError, *GONE)
"""Errors that are sentences for a person: whoever raises them did nothing wrong."""


class Generation(Pipe):
    """A reply as it is written: iterate over its deltas; then `finish` says how it ended.

    An error is raised only after every delta that came before it.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        super().__init__()
        self.cancel = cancel
        self.finish: Finish | None = None
        self.began = False

    def hear(self, output: Output) -> None:
        if output.delta:
            self.began = True
            self.put(output.delta)
        if output.finish:
            end = self.finish = output.finish
            self.close(WorkerError(end.error, end.refused) if end.reason == "error" else None)
