"""What a model is called where it is named alone: enough of its path to tell it from others."""

from collections.abc import Iterable
from pathlib import PurePosixPath


def told_apart(said: str, name: str, others: Iterable[str]) -> str:
    """What is `said` of a model, with as many of the folders before it as tell it from others of
    that form (which is shown beside it); names are those below models/."""
    *folders, last = name.split("/")
    if said not in (last, PurePosixPath(last).stem):
        return said  # Its engine has a name of its own for it.
    paths = (each.split("/") for each in others)
    same = [before for *before, file in paths if file == last and before != folders]
    deep = 0
    while deep < len(folders) and any(_end(each, deep) == _end(folders, deep) for each in same):
        deep += 1
    return "/".join([*_end(folders, deep), said])


def _end(folders: list[str], deep: int) -> list[str]:
    return folders[max(0, len(folders) - deep) :]
