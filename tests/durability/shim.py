"""The failing disk: built with the system's compiler, preloaded into a child, armed from inside."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def built(folder: Path) -> Path:
    """Compile the shim; skips the test, loudly, where that is not possible."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("THE FAILING DISK WAS NOT TRIED: it needs Linux and a C compiler (apt: gcc)")
    library = folder / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def run(library: Path, script: str, *arguments: str, timeout: float = 600) -> str:
    """Run one of the scripts here under the shim; what it prints, and it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.durability.{script}", *arguments],
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(library)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


class Disk:
    """The shim as the child sees it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.fault_passed.restype = ctypes.c_long
        self._library.fault_left.restype = ctypes.c_long

    def fail(self, pattern: str, k: int, error: int, *, cut: bool = False) -> None:
        """Let the k-th call on such a file fail from now on, once."""
        self._library.fault_arm(pattern.encode(), ctypes.c_long(k), error, int(cut))

    def heal(self) -> bool:
        """Fail no more; whether it did."""
        hit = self._library.fault_left() == 0
        self._library.fault_arm(b"", ctypes.c_long(0), 0, 0)
        return hit
