"""Where files are written: names that are safe, folders that say whose model it is."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from kernel.api import Refused, Struct, safe_name, safe_path

from .choosing import EYES, Choice
from .plan import Item, Plan, Repository

DEEPEST = 8
"""Folders in a file's name."""
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Controls, and marks that turn the direction of a text."""
MOST = 2000
"""Files of one download."""


class Places(Struct, frozen=True):
    """Where models and LoRAs lie."""

    models: Path
    loras: Path

    def of(self, root: str) -> Path:
        return self.loras if root == "loras" else self.models


def folder_name(repo: str, revision: str = "main") -> str:
    """`USER_NAME`, and `USER_NAME_BRANCH` of another branch than the main one."""
    branch = "" if revision in ("", "main") else f"_{revision.replace('/', '_')}"
    return safe(f"{repo.replace('/', '_')}{branch}")


def plan_of(
    repository: Repository,
    choice: Choice,
    places: Places,
    *,
    eyes: bool = False,
    endpoint: str = "",
) -> Plan:
    """What fetching a form of a model means; `eyes` takes the file along that sees images.

    A GGUF of one file lies directly below its root, as people are used to; what consists of
    several files has a folder. Raises Refused where a name cannot be one of a file here.
    """
    seeing, items = choice.eyes[:1] if eyes else (), choice.items
    root = "loras" if choice.lora else "models"
    folder = folder_name(repository.repo, repository.revision)
    if choice.form == "gguf":
        named = tuple(_named(item) for item in items)
        if len(named) == 1 and not seeing and not _taken(places.of(root), named[0]):
            return _plan(repository, root, "", named, endpoint)
        if _are_apart(repository, named) or _lie(repository, named, places.of(root), folder):
            items = named
    beside = tuple(_in_folder(item, _above(items[0])) for item in seeing)
    return _plan(repository, root, folder, (*items, *beside), endpoint)


def plan_of_files(
    repository: Repository,
    items: Sequence[Item],
    places: Places,
    *,
    lora: bool = False,
    endpoint: str = "",
) -> Plan:
    """The same for files that were chosen one by one; a model's one GGUF has no folder."""
    root = "loras" if lora else "models"
    if [item.path.lower()[-5:] for item in items] == [".gguf"] and not EYES.search(items[0].path):
        only = _named(items[0])
        if not _taken(places.of(root), only):
            return _plan(repository, root, "", (only,), endpoint)
    folder = folder_name(repository.repo, repository.revision)
    return _plan(repository, root, folder, tuple(items), endpoint)


def _plan(
    repository: Repository, root: str, folder: str, items: tuple[Item, ...], endpoint: str
) -> Plan:
    check_names(items)
    source = f"{endpoint}/{repository.repo}" if endpoint else ""
    kind = "loras" if root == "loras" else "models"
    return Plan(
        repository.repo, repository.revision, repository.commit, kind, folder, items, source
    )


def asked_at(plan: Plan, endpoint: str) -> Plan:
    """The same files at another hub, as a mirror that was set since they were chosen."""
    source = f"{endpoint}/{plan.repo}"
    before, after = f"{plan.source}/", f"{source}/"
    if before == after or not all(item.url.startswith(before) for item in plan.items):
        return plan
    items = tuple(
        structs.replace(item, url=item.url.replace(before, after, 1)) for item in plan.items
    )
    return structs.replace(plan, items=items, source=source)


def check_names(items: Sequence[Item]) -> None:
    """Raises Refused, before a byte is fetched, where a name leads elsewhere or is there twice."""
    if not items:
        raise Refused("None of these files belongs to a model. Choose others.")
    if len(items) > MOST:
        raise Refused(
            f"These are {len(items):,} files, more than a model has ({MOST:,}). Choose fewer."
        )
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for item in items:
        parts = item.path.split("/")
        if len(parts) > DEEPEST:
            raise Refused(f"“{shown(item.path)}” lies too deep. Leave it out.")
        for part in parts:
            safe(part)
        key = unicodedata.normalize("NFC", item.path).casefold()
        if other := seen.get(key):
            raise Refused(
                f"“{shown(item.path)}” and “{shown(other)}” would be one file on many systems. "
                "Choose one of them."
            )
        seen[key] = item.path
        folders |= {"/".join(key.split("/")[:n]) for n in range(1, len(parts))}
    if both := folders & seen.keys():
        raise Refused(f"“{shown(seen[min(both)])}” is a file and a folder. Choose one of them.")


def safe(name: str) -> str:
    """A name that can be a file's here; raises Refused: who reads that cannot rename it."""
    try:
        return safe_name(name)
    except ValueError as unsafe:
        why = str(unsafe).removesuffix(" Choose another name.")
        raise Refused(
            f"{why} So it is not fetched. Take another file, or the model from somebody else."
        ) from None


def is_safe(path: str) -> bool:
    """Whether a file can be written under its name."""
    try:
        check_names([Item(path, "", 0)])
    except Refused:
        return False
    return True


def found_here(plan: Plan, places: Places) -> dict[str, bool]:
    """Which files of a plan lie where it would write them, whole as far as their size tells."""
    root = places.of(plan.root)
    return {item.path: _lies(root, plan.folder, item) for item in plan.items}


def is_here(repository: Repository, item: Item, places: Places) -> bool:
    """Whether a file of a repository lies in one of the places where it is written."""
    folder, name = folder_name(repository.repo, repository.revision), _named(item)
    spots = [(folder, item), (folder, name)]
    if item.path.lower().endswith(".gguf"):
        spots.append(("", name))
    if EYES.search(name.path):  # It may have been taken along, and lie beside any model.
        folders = {_above(each) for each in repository.items if each.path.lower().endswith(".gguf")}
        spots += [(folder, _in_folder(item, above)) for above in folders]
    return any(_lies(root, *spot) for root in (places.models, places.loras) for spot in spots)


def where_it_lies(plan: Plan, places: Places) -> Plan:
    """For a check: the plan of a GGUF directly below its root, where one of another size has the
    name there and none is in the folder. It may be this one, cut off."""
    only, root = plan.items[0], places.of(plan.root)
    single = len(plan.items) == 1 and only.path.lower().endswith(".gguf")
    if not single or "/" in only.path or EYES.search(only.path):
        return plan
    if (root / plan.folder / only.path).exists() or not _taken(root, only):
        return plan
    return structs.replace(plan, folder="")


def _named(item: Item) -> Item:
    """A file under its own name, without the folders that it has on the hub."""
    return _in_folder(item, "")


def _above(item: Item) -> str:
    """The folder that it has, "" for none."""
    return item.path.rpartition("/")[0]


def _in_folder(item: Item, folder: str) -> Item:
    """A file under its own name in a folder, "" for none."""
    name = item.path.rpartition("/")[2]
    return structs.replace(item, path=f"{folder}/{name}" if folder else name)


def _are_apart(repository: Repository, named: Sequence[Item]) -> bool:
    """Whether no other file has one of these names: each quantization may have a folder on the hub,
    and its files the same names in each."""
    names = Counter(_named(item).path.casefold() for item in repository.items)
    return all(names[item.path.casefold()] == 1 for item in named)


def _lie(repository: Repository, named: Sequence[Item], root: Path, folder: str) -> bool:
    """Whether all lie in a folder under their own names, as earlier versions wrote them. One at
    least must have a size that no other file of its name has, or they may be another form's."""
    sizes = Counter((_named(item).path, item.size) for item in repository.items)
    known = any(sizes[item.path, item.size] == 1 for item in named)
    return known and all(_lies(root, folder, item) for item in named)


def _lies(root: Path, folder: str, item: Item) -> bool:
    try:
        path = safe_path(root, *filter(None, folder.split("/")), *item.path.split("/"), follow=True)
        return path.is_file() and path.stat().st_size == item.size
    except (OSError, ValueError):
        return False


def _taken(root: Path, item: Item) -> bool:
    """Whether another model's file has that name already."""
    try:
        path = safe_path(root, item.path, follow=True)
        return path.exists() and path.stat().st_size != item.size
    except (OSError, ValueError):
        return False


def plain(text: str) -> str:
    """A text without what is not seen but changes how the rest is read."""
    return UNSEEN.sub("", text)


def shown(name: str) -> str:
    """A name of any length and kind, as a sentence can hold it."""
    plain = re.sub(r"[^\w./ -]", "?", name[:80], flags=re.ASCII)
    return plain + ("…" if len(name) > 80 else "")
