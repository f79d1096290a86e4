"""Why something could not be saved or read, in words for the user."""

from pathlib import Path

REASONS = {
    "SQLITE_FULL": "the disk is full. Free some space; nothing else needs to be done.",
    "SQLITE_READONLY": "its folder cannot be written to. Check its permissions.",
    "SQLITE_CANTOPEN": "it cannot be opened. Check that its folder exists and may be written to.",
    "SQLITE_PERM": "it may not be opened. Check its permissions.",
    "SQLITE_BUSY": "another program holds it. Close that program and try again.",
    "SQLITE_IOERR": "the disk reported an error. Check the disk and its free space.",
    "SQLITE_CORRUPT": "it is damaged. Restart Spindle: what is intact is recovered.",
    "SQLITE_NOTADB": "it is not a database. Restart Spindle: what is intact is recovered.",
}
PASSING = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")
"""What keeps the disk from taking anything, for a while."""
MOVED = (
    "{} is not the file it was. Was its folder moved or a drive taken out? Put it back, and "
    "nothing is lost"
)
READ_ONLY = (
    "The conversations were damaged and are shown as they could be recovered. Choose above the "
    "text box whether to go on with them or to restore a backup; then write."
)


def takes_nothing(error: Exception) -> bool:
    """Whether the disk is at fault, so that memory may stand in for it."""
    name = getattr(error, "sqlite_errorname", "")
    return isinstance(error, OSError) or name.startswith(PASSING)


def is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def sentence(error: Exception, path: Path) -> str:
    """What SQLite or the system says, for the user."""
    if isinstance(error, OSError):
        return f"{error}." if not error.strerror else f"{path}: {error.strerror}."
    name = getattr(error, "sqlite_errorname", "")
    reasons = [reason for code, reason in REASONS.items() if name.startswith(code)]
    return f"{path} could not be used: {reasons[0] if reasons else f'{error}. Try again.'}"
