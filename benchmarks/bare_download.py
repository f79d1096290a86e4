"""One download in a process that does nothing else, and what it cost: ours, or huggingface_hub's.

python benchmarks/bare_download.py ours|theirs|theirs-hashed ADDRESS SIZE SHA256 FOLDER, in the
environment of the downloader's worker.
"""

import hashlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPO, FILE = "test/large", "large.gguf"


def ours(address: str, size: int, sha256: str, folder: str) -> Callable[[], None]:
    """Fetched, hashed, flushed to the disk and moved into its place."""
    sys.path.insert(0, str(ROOT))
    host = importlib.import_module("kernel.worker_host")
    fetcher = host.load_code(f"{ROOT}/extensions/downloader/fetcher.py:Fetcher")()
    item = {"path": FILE, "url": f"{address}/{REPO}/resolve/main/{FILE}", "size": size}
    plan = {
        **{"repo": REPO, "revision": "main", "commit": "", "root": "models", "folder": ""},
        "items": [{**item, "sha256": sha256}],
    }
    data = {"plan": plan, "root": folder, "endpoint": address, "wishes": {"unit": 0.01}}

    def work() -> None:
        news = fetcher.call("fetch", lambda *_: None, lambda: False, **data)
        assert not news.get("failed"), news

    return work


def theirs(address: str, size: int, sha256: str, folder: str) -> Callable[[], None]:
    """Fetched, by the library that the hub's makers write; it compares sizes, not hashes."""
    os.environ |= {"HF_ENDPOINT": address, "HF_HOME": folder, "HF_HUB_OFFLINE": "0"}
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    fetch = importlib.import_module("huggingface_hub").hf_hub_download
    return lambda: fetch(REPO, FILE, local_dir=folder)


def theirs_hashed(address: str, size: int, sha256: str, folder: str) -> Callable[[], None]:
    """The same, and the hash compared, as a careful user does afterwards."""
    fetch = theirs(address, size, sha256, folder)

    def work() -> None:
        fetch()
        with (Path(folder) / FILE).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == sha256

    return work


def main(kind: str, address: str, size: str, sha256: str, folder: str) -> None:
    """Do it, and say what it cost: seconds, seconds of CPU, megabytes of memory at most."""
    kinds = {"ours": ours, "theirs": theirs, "theirs-hashed": theirs_hashed}
    work = kinds[kind](address, int(size), sha256, folder)
    began, before = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - began, time.process_time() - before
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"wall": wall, "cpu": cpu, "rss": rss}))


if __name__ == "__main__":
    main(*sys.argv[1:])
