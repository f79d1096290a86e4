"""What a repository holds and what of it is to be fetched: plain data, for page, job and worker.

The worker's calls about it, each with `endpoint` (as `HUB`, no slash at the end) and `token` (""
for none): `repository(repo, revision)` answers a `Repository`; `search(query, limit)` a list of
`Found`, the most downloaded first; `card(repo, revision)` the text of README.md, "" where there is
none. What goes wrong is a `Refused` that says what to do: no such repository, gated, no network.
"""

from typing import Literal

from kernel.contract import Struct, built

HUB = "https://huggingface.co"
"""Where models are looked for, unless a setting or `HF_ENDPOINT` names a mirror."""


class Item(Struct, frozen=True):
    """One file."""

    path: str
    """In a repository's listing its name there; in a plan, where it is written below the folder.
    Forward slashes, and whatever the hub says: only `kernel.api.safe_path` makes a path of it."""
    url: str
    """Its bytes, with the commit in it, so that every attempt asks for the same file."""
    size: int
    """Bytes."""
    sha256: str | None = None
    """Of its bytes, in hexadecimal; the hub says so of large files only."""
    etag: str = ""
    """Another one means that the file is another."""
    xet: str = ""
    """What Xet calls the content, where the hub keeps it so."""


@built
class Repository(Struct, frozen=True):
    """What the hub says of a repository at a revision: the worker's answer to `repository`."""

    repo: str
    """`user/name`."""
    revision: str
    """The branch, tag or commit that was asked for."""
    commit: str
    items: tuple[Item, ...] = ()
    """All files, those in folders too."""
    gated: bool = False
    """Its owner wants to be asked, on its page, and did not let in whose token was told."""
    downloads: int = 0
    """In the last month."""
    licence: str = ""
    base: tuple[str, ...] = ()
    """The models it was made from: `user/name`."""
    tags: tuple[str, ...] = ()
    parameters: int = 0
    """As the hub read them off its safetensors or GGUF files; 0 where it does not say."""


@built
class Found(Struct, frozen=True):
    """A repository in the answer to `search`."""

    repo: str
    downloads: int = 0
    likes: int = 0
    changed: str = ""
    """A date, YYYY-MM-DD."""
    gated: bool = False
    tags: tuple[str, ...] = ()
    parameters: int = 0
    """As in `Repository`."""


@built
class Plan(Struct, frozen=True):
    """What is to be fetched, and where to."""

    repo: str
    """`user/name`, or "" for an address elsewhere."""
    revision: str
    commit: str
    root: Literal["models", "loras"]
    folder: str
    """Below that root, forward slashes; "" is the root itself."""
    items: tuple[Item, ...]
    source: str = ""
    """The page of the repository, for people and for huggingface-metadata.txt."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.items)

    @property
    def paths(self) -> set[str]:
        """Where its files are written, below the folder."""
        return {item.path for item in self.items}
