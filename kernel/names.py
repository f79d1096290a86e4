"""Names that reach a path: the one place where they are checked."""

import unicodedata
from pathlib import Path
from urllib.parse import unquote

LONGEST = 200
"""Bytes; file systems take 255, and some of ours grow an ending."""
_FORBIDDEN = set('/\\:*?"<>|') | set("∕⁄⧵⧸∖／＼：�")  # noqa: RUF001, look-alikes of separators
_JOINERS = {"\u200c", "\u200d"}  # of scripts and emoji: invisible, but part of words
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"
}


class UnsafeName(ValueError):
    """A name that could reach another file than the one it says; tells why."""


def safe_name(name: str) -> str:
    """The name, if it can be that of one file in one folder on every system."""
    if why := _flaw(name):
        shown = repr(name[:40])[1:-1]
        raise UnsafeName(f"“{shown}” cannot be the name of a file: {why}. Choose another name.")
    return name


def safe_path(root: Path, *names: str, follow: bool = False) -> Path:
    """The path of a file below `root`; links that lead out are refused, unless `follow` says that
    they are the user's own (models on another disk)."""
    path = root.joinpath(*map(safe_name, names))
    if not follow and not _below(path, root):
        raise UnsafeName(f"“{'/'.join(names)}” leads out of {root.name}. Choose another name.")
    return path


def _below(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # A link that went while it was followed, or leads to itself.
        return False


def _flaw(name: str) -> str:
    if name in ("", ".", ".."):
        return "it is empty"
    if name[0] in ".-~" or name != name.strip() or name[-1] == ".":
        return "it begins with a dot, dash or tilde, or ends with a dot or space"
    if _FORBIDDEN & set(name):
        return "it contains a separator or another reserved character"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in set(name) - _JOINERS):
        return "it contains an invisible character"
    if len(name.encode()) > LONGEST:
        return "it is too long"
    if name.partition(".")[0].rstrip().casefold() in _DEVICES:
        return "Windows reserves it"
    decoded = unquote(name)
    return _flaw(decoded) if decoded != name else ""
