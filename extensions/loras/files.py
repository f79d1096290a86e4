"""The adapters below loras/: what each is, read from headers alone."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import structs

from extensions.engine_kit.api import read_config, read_gguf_adapter, read_peft
from kernel.api import Refused, Struct, safe_path

CONFIG = "adapter_config.json"
DEEPEST = 5
"""Folders below loras/, as below models/."""
WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
LAYER = re.compile(r"^blk\.[0-9]+\.|\.(weight|bias)$")
Stamp = tuple[tuple[str, int, int], ...]
Form = Literal["GGUF", "PEFT"]


class Adapter(Struct, frozen=True):
    """One adapter, or what stands in its place: then `trouble` says what is wrong."""

    name: str
    """Below loras/: a folder, or a GGUF file without its ending."""
    path: Path
    form: Form
    size: int = 0
    base: str = ""
    """The model it was made from, as it says itself: anybody's words."""
    rank: str = ""
    alpha: float = 0
    targets: tuple[str, ...] = ()
    """What it changes in each layer."""
    trouble: str = ""
    stamp: Stamp = ()
    """What tells it from another that has its place later."""


class Shelf:
    """The adapters below `root`. Its methods block."""

    def __init__(self, root: Path) -> None:
        self.adapters: tuple[Adapter, ...] = ()
        self.root = root
        self._known: dict[Path, Adapter] = {}

    def look(self) -> bool:
        """List them anew, reading only what changed; says whether anything did."""
        before, known = self.adapters, dict[Path, Adapter]()
        for path, name in named(found(self.root), self.root).items():
            stamp, seen = _stamp(path), self._known.get(path)
            if not seen or (seen.stamp, seen.name) != (stamp, name):
                seen = structs.replace(described(path, name, self.root), stamp=stamp)
            known[path] = seen
        self._known = known
        self.adapters = tuple(sorted(known.values(), key=lambda adapter: adapter.name.lower()))
        return before != self.adapters

    def find(self, name: str) -> Adapter | None:
        """One by its name, which may have the ending of its file."""
        names = {adapter.name: adapter for adapter in self.adapters}
        return names.get(name) or names.get(name.removesuffix(".gguf"))

    def has(self, name: str) -> bool:
        """Whether one of this name was listed and is still there."""
        adapter = self.find(name)
        return bool(adapter) and (adapter.path.is_file() or (adapter.path / CONFIG).is_file())

    def in_form(self, adapter: Adapter, form: Form) -> Adapter:
        """The same in this form, where one folder holds both; else what it was. Of several files
        it is the largest, which is the most exact."""
        if adapter.form == form:
            return adapter
        folder = adapter.path if adapter.form == "PEFT" else adapter.path.parent
        others = (each for each in self.adapters if each.form == form and not each.trouble)
        beside = [e for e in others if folder == (e.path if form == "PEFT" else e.path.parent)]
        return max(beside, key=_sized, default=adapter)


def found(root: Path) -> Iterator[Path]:
    """GGUF files, and folders with a config; no folder is entered twice, and none outside."""
    seen, inside = set[str](), os.path.realpath(root)
    for folder, folders, files in os.walk(root, followlinks=True):
        here, real = Path(folder), os.path.realpath(folder)
        outside = not Path(real).is_relative_to(inside)
        if here != root and (CONFIG in files or (outside and any(map(_gguf_named, files)))):
            yield here
        if outside or real in seen or len(here.relative_to(root).parts) >= DEEPEST:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(filter(_shown, folders))
        yield from (here / name for name in files if _shown(name) and _gguf_named(name))


def named(paths: Iterator[Path], root: Path) -> dict[Path, str]:
    """Their names: a file goes without its ending, unless a folder is called so."""
    full = {path: path.relative_to(root).as_posix() for path in paths}
    folders = {name for path, name in full.items() if path.suffix != ".gguf" or path.is_dir()}
    short = {path: name.removesuffix(".gguf") for path, name in full.items()}
    return {
        path: full[path] if path.is_dir() or short[path] in folders else short[path]
        for path in full
    }


def described(path: Path, name: str, root: Path) -> Adapter:
    """What an adapter says of itself, or what is wrong with it."""
    form: Form = "PEFT" if path.is_dir() else "GGUF"
    plain = Adapter(name, path, form, _size(path))
    if not _within(path, root):
        says = f"It is a link that leads out of {root.name}/. Copy the adapter here, or start "
        return Adapter(name, path, form, trouble=f"{says}Spindle with --lora-dir.")
    try:
        safe_path(root, *name.split("/"))
    except ValueError as unsafe:  # No request could name it.
        return Adapter(name, path, form, plain.size, trouble=str(unsafe))
    try:
        return _peft(plain) if form == "PEFT" else _gguf(plain)
    except Refused as error:
        return Adapter(name, path, form, plain.size, _base(path), trouble=str(error))


# --- inside -----------------------------------------------------------------------------


def _peft(plain: Adapter) -> Adapter:
    adapter = read_peft(plain.path)
    ranks = {factors.rank for factors in adapter.factors.values()}
    targets = {module.rpartition(".")[2] for module in adapter.factors}
    return Adapter(
        plain.name, plain.path, plain.form, plain.size, _base(plain.path),
        _span(ranks), adapter.config.lora_alpha, tuple(sorted(targets)),
    )  # fmt: skip


def _gguf(plain: Adapter) -> Adapter:
    file = read_gguf_adapter(plain.path)
    halves = {name: tensor for name, tensor in file.tensors.items() if name.endswith(".lora_a")}
    turned = "token_embd."  # Its factors are the other way round.
    ranks = {t.shape[0 if name.startswith(turned) else -1] for name, t in halves.items()}
    targets = {LAYER.sub("", LAYER.sub("", name.removesuffix(".lora_a"))) for name in halves}
    named = file.metadata.get("general.base_model.0.name")
    said = named or f"a {file.metadata.get('general.architecture', 'nameless')} model"
    return Adapter(
        plain.name, plain.path, plain.form, plain.size, str(said)[:200],
        _span(ranks), float(file.metadata.get("adapter.lora.alpha", 0)), tuple(sorted(targets)),
    )  # fmt: skip


def _base(path: Path) -> str:
    """The model that a folder names, even if nothing else in it is right."""
    try:
        return (read_config(path).base_model_name_or_path or "")[:200] if path.is_dir() else ""
    except Refused:
        return ""


def _span(ranks: set[int]) -> str:
    ends = sorted({min(ranks), max(ranks)}) if ranks else []
    return " to ".join(map(str, ends))


def _shown(name: str) -> bool:
    """Whether a name is to be shown: not hidden, and text that can be sent to a page and back."""
    try:
        return not name.encode().startswith(b".")
    except UnicodeEncodeError:
        return False


def _sized(adapter: Adapter) -> int:
    return adapter.size


def _gguf_named(name: str) -> bool:
    return name.endswith(".gguf")


def _within(path: Path, root: Path) -> bool:
    """Whether it lies below loras/, with what is read of it."""
    parts = [path, *path.iterdir()] if path.is_dir() and not path.is_symlink() else [path]
    inside = os.path.realpath(root)  # It takes a link to itself; Path.resolve does not.
    return all(Path(os.path.realpath(part)).is_relative_to(inside) for part in parts)


def _parts(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [path / CONFIG, *(file for pattern in WEIGHTS for file in sorted(path.glob(pattern)))]


def _size(path: Path) -> int:
    return sum(size for _, _, size in _stamp(path))


def _stamp(path: Path) -> Stamp:
    stamps: list[tuple[str, int, int]] = []
    for part in _parts(path):
        try:
            status = part.stat()
            stamps.append((part.name, status.st_mtime_ns, status.st_size))
        except OSError:
            continue
    return tuple(stamps)
