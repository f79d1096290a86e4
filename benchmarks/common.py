"""What the benchmarks share: the line about the machine, CPU clocks, a way in, tables."""

import argparse
import datetime
import http.client
import os
import platform
import re
import shutil
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parent
RUNS = 5


def whole(path: str) -> Path:
    """The path from the root: a server under test runs in a folder of its own."""
    return Path(path).resolve()


def header(title: str) -> None:
    """Where and when this was measured; a busy machine is said to be one."""
    print(f"{title}. {datetime.date.today()}, {platform.machine()}, Python ", end="")
    print(f"{platform.python_version()}, {os.cpu_count()} cores, {load()}")


def load() -> str:
    """The load average; what others do on this machine is in it."""
    return "load " + " ".join(Path("/proc/loadavg").read_text().split()[:3])


def arguments(doc: str | None, **more: int | str) -> argparse.Namespace:
    """The flags that all of them have, and `more` of their own with their defaults."""
    parser = argparse.ArgumentParser(description=doc)
    help = "where the engines' environments are; made there if they are missing"
    parser.add_argument(
        "--environments-dir", type=whole, default=ROOT / "data" / "environments", help=help
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="of each kind, in turn")
    for name, default in more.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help="%(default)s"
        )
    return parser.parse_args()


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used, all its threads together, to the microsecond (Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


def resident(pid: int) -> float:
    """Megabytes (10^6) resident."""
    return psutil.Process(pid).memory_info().rss / 1e6


def children(pid: int) -> list[int]:
    """The processes below one, at any depth."""
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


def child(port: int) -> int:
    """The process id of the server that we started on this port."""
    for process in psutil.Process().children():
        if str(port) in process.cmdline():
            return process.pid
    raise LookupError(f"there is no server on port {port}")


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """The median, and between which figures it lies."""
    known = sorted(values)
    low, middle, high = known[0], statistics.median(known), known[-1]
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they must be."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)))
    print()


def install(data: Path, *names: str) -> Path:
    """Put extensions of this folder into a data folder; answers a folder of models for them."""
    for name in names:
        shutil.copytree(HERE / name, data / "extensions" / name)
    models = data / "models"
    models.mkdir(parents=True)
    (models / "beat.tick").touch()
    return models


def sign_in(port: int, link: str) -> str:
    """The cookie that a launch link gives."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", re.sub(r"^http://[^/]+", "", link))
    cookie = connection.getresponse().getheader("Set-Cookie", "")
    connection.close()
    return cookie.partition(";")[0]
