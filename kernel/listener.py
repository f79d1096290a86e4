"""The socket that pages and programs connect to."""

import errno
import os
import socket
from contextlib import suppress
from typing import Any

from kernel.platform_ import resource

RESERVE = 32
"""Open files that connections leave for everything else: chats, templates, an engine's pipes."""
ACCEPTED = 32
"""Connections taken at once; when no file is left, asyncio tries, and complains, that often."""
WAITING = 2048
"""Connections that the system holds until they are taken."""
SIGNS = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of quiet, seconds between and number of the probes for who vanished without a word."""
PATIENCE = 20_000
"""Milliseconds after which a page that acknowledges nothing is cut off."""
UNREAD = 1 << 18
"""Bytes that the system holds for somebody who reads too slowly."""


class Listener(socket.socket):
    """Takes a connection only while files are left for the work that it asks for.

    Otherwise it says what the system would say a few connections later; asyncio tries again in
    a second, and who connects waits.
    """

    def accept(self) -> tuple[socket.socket, Any]:
        os.close(lowest := os.dup(self.fileno()))
        if lowest > open_files() - RESERVE:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def listen(host: str, port: int) -> Listener:
    """A listening socket; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.create_server((host, port), family=family)
    listener = Listener(fileno=made.detach())
    options = {**SIGNS, "TCP_USER_TIMEOUT": PATIENCE, "TCP_NODELAY": 1}  # Words do not wait.
    for name in options.keys() & vars(socket):  # Every connection inherits what Linux has of them.
        listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), options[name])
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD)
    return listener


def open_files() -> int:
    """How many files this process may have open."""
    if not resource:
        return 1 << 30  # On Windows sockets are no files.
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def own_names() -> set[str]:
    """The names and addresses by which this machine knows itself."""
    name = socket.gethostname().lower()
    short, ips = name.partition(".")[0], set[str]()
    with suppress(OSError):
        ips = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(name, None)}
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(("198.51.100.1", 9))  # Nothing is sent: it tells by which address it would be.
        ips.add(way.getsockname()[0])
    return {name, short, f"{short}.local"} | {f"[{ip}]" if ":" in ip else ip for ip in ips}
