"""A program that starts others, and how all of them end with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

PATIENCE = 1.5
"""Seconds that a program which is asked to end may take for it."""


@contextmanager
def child(
    command: list[str], env: Mapping[str, str] | None, out: int
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a group of its own, whose compilers end with it."""
    alone = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    process = subprocess.Popen(
        command, env=env, stdout=out, stderr=out, start_new_session=True, creationflags=alone
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            if sys.platform == "win32":
                words = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
                subprocess.run(words, capture_output=True, check=False)
            else:
                end(process)
            process.wait()


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask its group to end before it is killed: ninja gives each compiler a group of its own, which
    only ninja ends."""
    with suppress(ProcessLookupError, PermissionError):  # The last has ended (macOS: is a zombie).
        os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            process.poll()  # One that nobody asks for would still count as there.
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
