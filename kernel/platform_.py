"""What differs between operating systems about child processes: channels, trees, deaths."""

import asyncio
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

try:
    import resource
except ImportError:  # on Windows
    resource = None

CHANNEL = "SPINDLE_CHANNEL"
STARVED = re.compile(r"bad_alloc|MemoryError|(out of|not enough|allocate) memory", re.I)
"""What native libraries print when memory runs out."""
Child = Callable[[], asyncio.SubprocessProtocol]


async def spawn(
    child: Child, command: Sequence[str], env: Mapping[str, str], loopback: bool = os.name == "nt"
) -> socket.socket:
    """Start a process group and a channel to it: a socketpair or, where none is inherited, a
    loopback connection that only the holder of a one-time secret may make."""
    loop = asyncio.get_running_loop()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    start = partial(loop.subprocess_exec, child, *command, **streams, start_new_session=True)
    if not loopback:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            try:
                process, _ = await start(env={**env, CHANNEL: str(number)}, pass_fds=(number,))
            except BaseException:
                ours.close()
                raise
        return ours
    secret = secrets.token_hex(32)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        process, _ = await start(env={**env, CHANNEL: f"{listener.getsockname()[1]}:{secret}"})
        try:
            return await asyncio.wait_for(_accept(listener, secret.encode()), 30)
        except BaseException:
            kill_tree(process.get_pid())
            raise


async def _accept(listener: socket.socket, secret: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    while True:
        ours, _ = await loop.sock_accept(listener)
        with suppress(OSError, TimeoutError):
            said = await asyncio.wait_for(loop.sock_recv(ours, len(secret)), 1)
            if secrets.compare_digest(said, secret):
                return ours
        ours.close()


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
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], check=False)
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end() -> NoReturn:
    """End this process, a child, and whatever it started itself."""
    if sys.platform == "win32" or os.getpgrp() == os.getpid():
        kill_tree(os.getpid())
    os._exit(0)


def memory_kills() -> int:
    """How many processes the system has ended for want of memory; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
