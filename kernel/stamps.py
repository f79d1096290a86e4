"""The stamp of an environment, written last: what it was made for, and what it holds.

Every start asks for one before anything else, so this imports only what Python has in hand.
"""

import os
import sys

BASE = ("jinja2==3.1.6", "msgspec==0.22.0")
"""What every environment holds: the child's end of the protocol, and chat templates."""


def interpreter(folder: str) -> str:
    """Name the Python of the environment in this folder."""
    return f"{folder}/{'Scripts/python.exe' if sys.platform == 'win32' else 'bin/python'}"


def identity(folder: str, lock: str, index: str = "") -> str:
    """Say what a folder is made for; the lock itself, as hashlib takes longer to import."""
    text = _read(lock) if lock else ""
    python = f"{sys.implementation.cache_tag} {sys.platform}"
    return "\n".join((python, folder, index, text, "holds:\n"))


def held(folder: str, lock: str, index: str = "") -> set[str]:
    """What an environment holds; nothing if it is incomplete, moved, or made from another lock."""
    try:
        stamp, made_for = _read(f"{folder}/stamp"), identity(folder, lock, index)
    except (OSError, ValueError):
        return set()
    current = stamp.startswith(made_for) and os.path.exists(interpreter(folder))
    return set(stamp.removeprefix(made_for).split("\n") if current else ())


def _read(file: str) -> str:
    with open(file, encoding="utf-8") as text:
        return text.read()
