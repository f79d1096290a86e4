"""What differs between operating systems about child processes: channels, trees, deaths."""

import os
import re
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

try:
    import resource
except ImportError:  # on Windows
    resource = None

CHANNEL = "SPINDLE_CHANNEL"
STARVED = re.compile(r"bad_alloc|MemoryError|(out of|not enough|allocate) memory", re.I)
"""What native libraries print when memory runs out."""


def join() -> socket.socket:
    """The child's end of the channel. A crash must not write gigabytes of core first."""
    if resource:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number, _, secret = os.environ.pop(CHANNEL).partition(":")
    if not secret:
        return socket.socket(fileno=int(number))
    channel = socket.create_connection(("127.0.0.1", int(number)))
    channel.sendall(secret.encode())
    return channel


def die_unless_called_again(seconds: int) -> None:
    """Let the system end this process if it holds the interpreter for longer than that."""
    if sys.platform != "win32":
        signal.alarm(seconds)


def kill_tree(pid: int) -> None:
    """End a process that `spawn` started, and whatever it started itself."""
    if sys.platform == "win32":
        import subprocess  # noqa: PLC0415 - 3 ms of every engine's start

        with suppress(OSError):
            words, quiet = ["taskkill", "/F", "/T", "/PID", str(pid)], subprocess.DEVNULL
            subprocess.run(words, stdout=quiet, stderr=quiet, check=False)
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def ended(pid: int) -> bool:
    """Whether a child has ended, though nobody asked yet how; False where the system cannot say."""
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return False
    try:
        return bool(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    except ChildProcessError:
        return True


def end() -> NoReturn:
    """End this process, a child, and whatever it started itself."""
    if sys.platform == "win32" or os.getpgrp() == os.getpid():
        kill_tree(os.getpid())
    os._exit(0)


def has_nvidia(root: Path = Path("/")) -> bool:
    """Whether a driver of NVIDIA's is there; in a container, or on Windows' Linux, its tool is."""
    places = ("proc/driver/nvidia/version", "dev/nvidiactl", "usr/lib/wsl/lib/nvidia-smi")
    return any((root / place).exists() for place in places) or bool(shutil.which("nvidia-smi"))


def memory_kills() -> int:
    """How many processes the system has ended for want of memory; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
