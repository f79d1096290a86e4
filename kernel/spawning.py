"""A child process with a channel to it, whatever the operating system."""

import asyncio
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from kernel.platform_ import CHANNEL, kill_tree

PATIENCE = 120
"""Seconds until a child has called: what guards Windows reads a new environment first."""
Child = Callable[[], asyncio.SubprocessProtocol]


async def spawn(
    child: Child, command: Sequence[str], env: Mapping[str, str], loopback: bool = os.name == "nt"
) -> socket.socket:
    """Start a process group and a channel to it: a socketpair or, where none is inherited, a
    loopback connection that only the holder of a one-time secret may make."""
    loop = asyncio.get_running_loop()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    alone = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Ctrl+C is for the server alone.
    how = {"start_new_session": True, "creationflags": alone}
    start = partial(loop.subprocess_exec, child, *command, **streams, **how)
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
        call = asyncio.ensure_future(_accept(listener, secret.encode()))
        try:
            async with asyncio.timeout(PATIENCE):
                while not (await asyncio.wait({call}, timeout=0.2))[0]:
                    if process.get_returncode() is not None:
                        raise OSError("it ended at once")
            return call.result()
        except BaseException:
            call.cancel()
            kill_tree(process.get_pid())
            process.close()
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
