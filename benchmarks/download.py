"""Downloads: python -m benchmarks.download

A large file from the hub of the tests, in a process of its own on loopback: how fast ours fetches
it with its hash made and the file flushed to the disk, beside huggingface_hub's own downloader with
and without a hash afterwards; CPU for each gigabyte, memory, and memory by size. Then 50 cuts at
random offsets: whether the hash is right, and how much was fetched twice.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import ROOT, arguments, header, load, spread, table
from kernel.environments import python_of
from tests.hub import Hub, Made, Repo, serving

KINDS = ("ours", "theirs", "theirs-hashed")
CUTS = 50


@contextmanager
def hub(size: int) -> Iterator[tuple[str, str]]:
    """A hub in another process: its address, and the hash of its file."""
    command = [sys.executable, "-m", "tests.hub", str(size)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout
        assert process.stdin
        address, sha256 = process.stdout.readline().split()
        yield address, sha256
        process.stdin.close()


def fetch(python: Path, kind: str, address: str, size: int, sha256: str, where: str) -> dict:
    """One download, and what it cost."""
    with tempfile.TemporaryDirectory(dir=where) as folder:
        script = str(ROOT / "benchmarks" / "bare_download.py")
        command = [str(python), script, kind, address, str(size), sha256, folder]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found = Path(folder) / "large.gguf"
        assert found.stat().st_size == size
        return json.loads(said.splitlines()[-1])


def speeds(python: Path, size: int, runs: int, where: str) -> list[tuple[str, str]]:
    """Each kind in turn, so that what else the machine does meets all of them."""
    cost: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    with hub(size) as (address, sha256):
        for _ in range(runs):
            for kind in KINDS:
                cost[kind].append(fetch(python, kind, address, size, sha256, where))
    rows: list[tuple[str, str]] = []
    for kind in KINDS:
        rows += [
            (f"{kind}, MB/s", spread((size / 1e6 / c["wall"] for c in cost[kind]), ".0f")),
            (f"{kind}, seconds of CPU for a GB", spread(c["cpu"] / size * 1e9 for c in cost[kind])),
            (f"{kind}, most memory, MB", spread((c["rss"] for c in cost[kind]), ".1f")),
        ]
    for kind in KINDS[1:]:
        pairs = zip(cost[kind], cost["ours"], strict=True)
        ratio = spread(other["wall"] / own["wall"] for other, own in pairs)
        rows.append((f"ours is so many times as fast as {kind}", ratio))
    return rows


def memory(python: Path, size: int, where: str) -> Iterator[tuple[str, str]]:
    """The same of smaller files: it must not grow."""
    for part in (size // 16, size // 4):
        with hub(part) as (address, sha256):
            cost = fetch(python, "ours", address, part, sha256, where)
        yield f"ours, most memory, MB, a file of {part / 1e6:.0f} MB", f"{cost['rss']:.1f}"


def cuts(python: Path, size: int, where: str) -> Iterator[tuple[str, str]]:
    """The same file, with the connection cut at fifty places."""
    with serving(Hub(Repo("test/large"))) as there, tempfile.TemporaryDirectory(dir=where) as to:
        there["test/large"].commit({"large.gguf": Made(size)})
        _, files = there["test/large"].at("main") or ("", {})
        sha256 = files["large.gguf"].sha256
        for at in random.sample(range(size), CUTS):
            there.misbehave("cut", "bytes:*", at=at)
        script = str(ROOT / "benchmarks" / "bare_download.py")
        command = [str(python), script, "ours", there.address, str(size), sha256, to]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        with (Path(to) / "large.gguf").open("rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        came = sum(not fault.times for fault in there.faults)
        twice = there.sent("large.gguf") / size - 1
    yield f"cuts that came, of {CUTS}", str(came)
    yield "the hash is right afterwards", "yes" if right else "NO"
    yield "fetched twice", f"{twice:.3%}"


def main() -> None:
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir()
    asked = arguments(__doc__, size=1_000_000_000, folder=shared)
    python = python_of(asked.environments_dir / "hub")
    free = shutil.disk_usage(asked.folder).free
    size = min(asked.size, free // 4)
    header(f"A download of {size / 1e6:.0f} MB to {asked.folder}")
    rows = speeds(python, size, asked.runs, asked.folder)
    rows += memory(python, size, asked.folder)
    rows += cuts(python, min(size, 400_000_000), asked.folder)
    table([("what", "measured"), *rows])
    print(load())


if __name__ == "__main__":
    main()
