"""What the Workshop can be asked to do by a page."""

from kernel.api import Action


class Fetch(Action, frozen=True):
    """Look at what lies at an address; nothing is installed yet."""

    address: str


class Install(Action, frozen=True):
    """Install what is shown; `consent` is the hash of the files that were shown."""

    consent: str


class Dismiss(Action, frozen=True):
    """Do not install what is shown."""


class Update(Action, frozen=True):
    """Look for a newer version of an installed extension."""

    id: str


class Rollback(Action, frozen=True):
    """Use the version before."""

    id: str


class Remove(Action, frozen=True):
    """Take an installed extension away, and the libraries that its engine alone had."""

    id: str
    libraries: bool = False


class Begin(Action, frozen=True):
    """Look for the extension that causes trouble."""


class Answer(Action, frozen=True):
    """Whether it is still wrong, at this step of the search; None: that cannot be tried."""

    step: int
    wrong: bool | None


class Finish(Action, frozen=True):
    """End the search, found or not; `off` leaves the culprit off."""

    off: bool = False
