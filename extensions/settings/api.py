"""What other extensions may use of Settings: how permissions are put into words."""

WORDS = {
    "kernel:admin": "switching extensions and changing settings",
    "network:none": "no network",
    "network:loopback": "the network within this machine",
    "files:data": "its files in the data folder",
    "process": "child processes",
    "processes": "child processes",
    "processes:engine": "its engine as a child process",
}
"""Permissions as a person reads them; one not listed is shown as it stands."""

DOING = {"read": "reading", "write": "writing", "change": "changing", "delete": "deleting"}


def in_words(permission: str) -> str:
    """A permission as part of a sentence that begins with "it asks for"."""
    kind, _, what = permission.partition(":")
    if permission in WORDS or not what:
        return WORDS.get(permission, permission)
    verb, _, where = what.partition(" ")
    if kind == "files":
        return f"{DOING.get(verb, verb)} files in {where or 'the data folder'}"
    if kind == "processes":
        return f"running {what}"
    return f"the network: {what}" if kind == "network" else permission
