"""The names that the server goes by, at each of its ports: what a Host header may say."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from kernel.listener import own_names

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Hosts:
    """Names in small letters. `named` are given by a person, perhaps of a proxy with its own port
    and TLS; `listens`: other machines may come, by the machine's own names and addresses."""

    def __init__(self, port: int, named: Iterable[str], *, listens: bool, tls: bool) -> None:
        self._ports, self._usual = {str(port)}, "443" if tls else "80"
        self._ours = {*LOOPBACK, *(own_names() if listens else ())}
        self._listens, self._given = listens, {name.lower() for name in named}

    @contextmanager
    def at(self, port: int) -> Generator[None]:
        """Go by the same names at another port, too."""
        self._ports.add(str(port))
        try:
            yield
        finally:
            self._ports.discard(str(port))

    def given(self, host: str) -> bool:
        """Whether a person gave this name."""
        return host in self._given or self._name(host) in self._given

    def near(self, host: str) -> bool:
        """Whether it means this machine to itself."""
        return self._name(host) in LOOPBACK

    def known(self, host: str, server: Any) -> bool:
        """Whether it is ours, as the address the connection came in at is: no name rebinds it."""
        ip = str((server or ("",))[0]) if self._listens else ""
        name, here = self._name(host), f"[{ip}]" if ":" in ip else ip
        return self.given(host) or name in self._ours or bool(name and name == here)

    def _name(self, host: str) -> str:
        """A host without its port, if that is one of ours; else nothing."""
        name, _, port = host.rpartition(":")
        if not name or port.endswith("]"):
            name, port = host, self._usual
        return name if port in self._ports else ""
