"""Xet's own client, in a process of its own: a range of a file to the standard output, in order.

What is wanted comes as a line of JSON on the standard input, and the end of that input is the end
of this process. It holds what a server far away makes a client in another language hold, crashes
where that does, and can be killed at any moment, while the client itself has no way of being
stopped as long as a server says nothing.
"""

import json
import os
import sys
import threading
import time
from importlib import import_module
from typing import Any

hf_xet: Any = import_module("hf_xet")  # of the worker's environment, and without types

SMALLEST, LARGEST = 4 << 20, 1 << 30
"""Of what the client is asked for at once: it gives nothing until a large part of that is there."""
QUICK, SLOW = 4.0, 12.0
"""Seconds: what came sooner is followed by more at once, what came later by less."""
SPENT = 75
"""The exit status for a key that is used up, or will be soon."""
MARGIN = 60
"""Seconds before that."""


def fetch(
    hash: str, size: int, start: int, stop: int, cas: str, key: str, until: int, threads: int,
    stall: float,
) -> int:  # fmt: skip
    """Write the bytes from `start` to `stop`, and answer the exit status."""
    session = hf_xet.XetSession(hf_xet.XetConfig().with_config(config(threads, stall)))
    group = session.new_download_stream_group(endpoint=cas, token=key, token_expiry_unix_secs=until)
    info, portion = hf_xet.XetFileInfo(hash, size), SMALLEST
    while start < stop:
        if time.time() > until - MARGIN:
            return SPENT
        began, end = time.monotonic(), min(start + portion, stop)
        for piece in group.download_stream(info, start, end):
            if len(piece) > end - start:
                raise ValueError("more came than was asked for")
            write(memoryview(piece))
            start += len(piece)
        if start < end:
            raise ValueError("less came than was asked for")
        took = time.monotonic() - began
        portion = portion * 2 if took < QUICK else portion // 2 if took > SLOW else portion
        portion = max(SMALLEST, min(LARGEST, portion))
    return 0


def config(threads: int, stall: float) -> dict[str, Any]:
    """Little memory, no more connections than were allowed, and nobody is told of it."""
    return {
        "telemetry.enabled": False,
        "client.ac_initial_download_concurrency": min(threads, 4),
        "client.ac_max_download_concurrency": threads,
        "client.connect_timeout": "15s",
        "client.read_timeout": f"{stall:.0f}s" if stall >= 1 else "1s",
        "client.retry_max_attempts": 3,
        "client.retry_base_delay": "1s",
        "reconstruction.download_buffer_size": "64mb",
        "reconstruction.download_buffer_perfile_size": "16mb",
        "reconstruction.download_buffer_limit": "128mb",
    }


def write(view: memoryview) -> None:
    """All of it."""
    while view:
        view = view[os.write(1, view) :]


def end_with_the_other() -> None:
    """Who asked is gone, so nobody reads any more."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    wanted = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_the_other, daemon=True).start()
    try:
        return fetch(**wanted)
    except BaseException as error:  # a panic of the client is no Exception
        sys.stderr.write(f"\n{type(error).__name__}: {error}\n")
        return 1


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # The client's threads may wait for a server for minutes.
