"""What the hub of the tests holds: repositories of files that are made up while they are read."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

BLOCK = 1 << 16
PIECE = 1 << 18
WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".model", ".onnx")
"""Endings of what the hub keeps as LFS, however small it is."""


@cache
def _noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(BLOCK - 16)


@dataclass(frozen=True)
class Made:
    """Noise of any size, always the same for a seed; each 64 KiB begin with their number, so that
    a piece at a wrong place is a wrong piece."""

    size: int
    seed: int = 0

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """The bytes from `start` to `stop`, some hundred kilobytes at a time."""
        noise = _noise(self.seed)
        while start < stop:
            first, skip = divmod(start, BLOCK)
            end = min(stop, (start // PIECE + 1) * PIECE)
            blocks = range(first, -(-end // BLOCK))
            piece = b"".join(part for n in blocks for part in (n.to_bytes(16, "big"), noise))
            yield memoryview(piece)[skip : skip + end - start]
            start = end


@dataclass(frozen=True)
class Written:
    """Bytes that were given."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, stop, PIECE):
            yield self.data[at : min(at + PIECE, stop)]


@dataclass(frozen=True)
class File:
    """A file at a commit."""

    path: str
    content: Made | Written
    lfs: bool
    chunked: bool = False
    """Xet keeps it."""

    @property
    def size(self) -> int:
        return self.content.size

    @cached_property
    def sha256(self) -> str:
        """Read once, which takes a second for a gigabyte."""
        return _hashed(hashlib.sha256(), self.content)

    @cached_property
    def oid(self) -> str:
        """What git calls the file: of a large one, its pointer."""
        content = Written(self.pointer) if self.lfs else self.content
        return _hashed(hashlib.sha1(b"blob %d\0" % content.size), content)

    @property
    def xet(self) -> str:
        """What Xet calls it: any name will do, as its client takes it as it is."""
        return hashlib.sha256(f"xet {self.sha256}".encode()).hexdigest() if self.chunked else ""

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer(self) -> bytes:
        """What stands in git in its place."""
        head = "version https://git-lfs.github.com/spec/v1\n"
        return f"{head}oid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def stored(self) -> dict[str, object]:
        """As a model's own list names what is large."""
        return {"sha256": self.sha256, "size": self.size, "pointerSize": len(self.pointer)}

    @property
    def entry(self) -> dict[str, object]:
        """As the tree lists it."""
        entry = {"type": "file", "oid": self.oid, "size": self.size, "path": self.path}
        lfs = {"oid": self.sha256, "size": self.size, "pointerSize": len(self.pointer)}
        chunked = {"xetHash": self.xet} if self.chunked else {}
        return {**entry, "lfs": lfs, **chunked} if self.lfs else entry


def _hashed(hash: "hashlib._Hash", content: Made | Written) -> str:
    for piece in content.pieces(0, content.size):
        hash.update(piece)
    return hash.hexdigest()


Given = Mapping[str, bytes | str | int | Made]
"""By path: bytes, text, or the size of what is made up."""


@dataclass
class Repo:
    """A repository; `commit` is how files come to it."""

    id: str
    private: bool = False
    gated: str | bool = False
    """`auto` or `manual`, as the hub says it."""
    downloads: int = 0
    likes: int = 0
    changed: str = "2026-01-01T00:00:00.000Z"
    tags: tuple[str, ...] = ()
    pipeline: str = "text-generation"
    card: Mapping[str, object] = field(default_factory=dict)
    """The head of the card: licence, base_model."""
    parameters: int = 0
    """As the hub reads them off the files."""
    xet: bool = False
    """What is large is kept by Xet."""
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Given, branch: str = "main", lfs: Iterable[str] = ()) -> str:
        """Make these the files of a branch and answer the commit's name; ones of `lfs` are large,
        as are all weights and what has ten megabytes."""
        known = {path: self._file(path, given, path in lfs) for path, given in files.items()}
        seen = "\n".join(f"{path} {file.size}" for path, file in sorted(known.items()))
        name = f"{self.id} {branch} {len(self.commits)} {seen}".encode(errors="surrogatepass")
        sha = hashlib.sha1(name).hexdigest()
        self.commits[sha], self.branches[branch] = known, sha
        return sha

    def _file(self, path: str, given: bytes | str | int | Made, lfs: bool) -> File:
        if isinstance(given, int):
            given = Made(given, sum(path.encode(errors="surrogatepass")))
        given = given.encode() if isinstance(given, str) else given
        content = Written(given) if isinstance(given, bytes) else given
        large = lfs or path.endswith(WEIGHTS) or content.size >= 10_000_000
        return File(path, content, large, large and self.xet)

    def at(self, revision: str) -> tuple[str, dict[str, File]] | None:
        """The commit that a branch, or the name of a commit, stands for."""
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else None

    def tree(self, sha: str, folder: str, recursive: bool) -> list[dict[str, object]]:
        """The entries below a folder, folders too, as the hub orders them."""
        files, start = self.commits[sha], f"{folder}/" if folder else ""
        found: dict[str, dict[str, object]] = {}
        for path, file in files.items():
            if not path.startswith(start):
                continue
            parts = path[len(start) :].split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                name = start + "/".join(parts[:depth])
                oid = hashlib.sha1(name.encode(errors="surrogatepass")).hexdigest()
                found[name] = {"type": "directory", "oid": oid, "size": 0, "path": name}
            if recursive or len(parts) == 1:
                found[path] = file.entry
        return list(found.values())

    def about(self, revision: str, blobs: bool) -> dict[str, object]:
        """What the hub says of it."""
        sha, files = self.at(revision) or ("", {})
        siblings: list[dict[str, object]] = [{"rfilename": path} for path in files]
        if blobs:
            siblings = [
                {
                    "rfilename": f.path,
                    "blobId": f.oid,
                    "size": f.size,
                    "lfs": f.stored if f.lfs else None,
                }
                for f in files.values()
            ]
        return {
            **{"_id": "0" * 24, "id": self.id, "modelId": self.id, "sha": sha},
            **{"author": self.id.partition("/")[0], "private": self.private, "gated": self.gated},
            **{"disabled": False, "downloads": self.downloads, "likes": self.likes},
            **{"lastModified": self.changed, "createdAt": self.changed, "tags": [*self.tags]},
            **self._counted(),
            **{"pipeline_tag": self.pipeline, "cardData": {**self.card}, "siblings": siblings},
        }

    def _counted(self) -> dict[str, object]:
        """How many parameters it has, where the hub says it for this kind of file."""
        if not self.parameters:
            return {}
        if "gguf" in self.tags:
            return {"gguf": {"total": self.parameters, "architecture": "llama"}}
        counted = {"parameters": {"BF16": self.parameters}, "total": self.parameters}
        return {"safetensors": counted}
