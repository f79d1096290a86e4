"""What other extensions may use of Settings: how permissions are put into words."""

WORDS = {
    "kernel:admin": "switch extensions and change settings",
    "network:none": "nothing on the network",
    "processes": "start child processes",
    "processes:engine": "start the engine as a child process",
}
"""Permissions as a person reads them; one not listed is shown as it stands."""


def in_words(permission: str) -> str:
    """A permission as part of a sentence that begins with "it may"."""
    kind, _, what = permission.partition(":")
    if permission in WORDS or not what:
        return WORDS.get(permission, permission)
    verb, _, where = what.partition(" ")
    if kind == "files":
        return f"{verb} files in {where or 'the data folder'}"
    return f"reach {what}" if kind == "network" else permission
