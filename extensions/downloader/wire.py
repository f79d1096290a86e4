"""HTTP for bytes: one connection that is kept, redirects that take no key along, and a cut."""

import base64
import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from kernel.contract import Refused

from .trouble import Again

if TYPE_CHECKING:
    import ssl

HOPS = 8
CONNECT = 15.0
"""Seconds until a server that does not answer counts as away."""
LINKED = "X-Linked-ETag"
REDIRECTS = {301, 302, 303, 307, 308}


class Home(NamedTuple):
    """The hub: `auth` goes to this address and to no other."""

    address: str = ""
    auth: str = ""

    def owns(self, url: str) -> bool:
        """Whether an address is the hub's own: scheme, host and port alike."""
        return bool(self.address) and _origin(urlsplit(url)) == _origin(urlsplit(self.address))


class Answer(NamedTuple):
    """What came in the end: where from, and what the hub said of the file on the way there."""

    response: HTTPResponse
    location: str
    linked: str
    """The name of the content, as the hub knows it; "" where it says nothing."""


class Wire:
    """One connection at a time, of one thread; only `cut` may be called from another."""

    def __init__(self, home: Home, stall: float) -> None:
        self._home, self._stall = home, stall
        self._connection: HTTPConnection | None = None
        self._to: tuple[str, str, int] | None = None
        self._inside = True
        self._response: HTTPResponse | None = None
        self._closed = False

    @property
    def inside(self) -> bool:
        """Whether the one who answered last is in the user's own network, or on this machine."""
        return self._inside

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask, and follow where it leads; the body is still to be read. Raises Again, Refused."""
        linked, began_inside = "", None
        for _ in range(HOPS):
            response = self._ask(url, headers)
            linked = linked or response.headers.get(LINKED, "")
            if began_inside is None:
                began_inside = self._inside
            elif self._inside and not began_inside:
                self.close()
                raise Refused(
                    "The server sent the download on to an address in your own network, where no "
                    "model can be. Nothing was fetched; take another source."
                )
            where = response.headers.get("Location")
            if response.status not in REDIRECTS or not where:
                return Answer(response, url, linked)
            self._pass_over(response)
            try:
                url = urljoin(url, where)
                _origin(urlsplit(url))
            except ValueError as error:
                raise Again("The server sends the download on to no address") from error
        raise Refused("The server sends the download in circles. Try another address.")

    def _ask(self, url: str, headers: Mapping[str, str]) -> HTTPResponse:
        self.finish()
        parts = urlsplit(url)
        auth = {"Authorization": self._home.auth} if self._home.owns(url) else {}
        told = {
            "User-Agent": "spindle", "Accept": "*/*", "Accept-Encoding": "identity",
            **headers, **(auth if self._home.auth else {}),
        }  # fmt: skip
        for fresh in (False, True):  # A connection that was kept may have ended meanwhile.
            kept = not fresh and self._to == _origin(parts) and self._connection is not None
            try:
                connection, path = self._connect(parts, kept)
                connection.request("GET", path, headers=told)
                self._response = connection.getresponse()
                return self._response
            except (OSError, HTTPException, ValueError) as error:
                self.close()
                if not kept or self._closed:
                    raise self._again(parts, error) from error
        raise AssertionError

    def _again(self, parts: SplitResult, error: Exception) -> Exception:
        host = parts.hostname or parts.geturl()
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            # What the error says may hold the token.
            return Refused(f"“{host}” cannot be asked. Check the address, and your token.")
        if isinstance(error, socket.gaierror):
            why = f"{host} was not found"
        elif isinstance(error, TimeoutError):
            why = f"{host} does not answer"
        else:
            why = f"{host} cannot be reached ({str(error) or type(error).__name__})"
        return Again(why, away=not isinstance(error, HTTPException))

    def _connect(self, parts: SplitResult, kept: bool) -> tuple[HTTPConnection, str]:
        """A connection to the server, or to the proxy before it, and what to ask there for."""
        path = quote(parts.path or "/", "/%:@!$&'()*+,;=~-._")
        path += f"?{quote(parts.query, '/%:@!$&()*+,;=~-._?[]')}" if parts.query else ""
        scheme, host, port = _origin(parts)
        if scheme not in ("http", "https") or not host:
            raise ValueError("only http and https addresses can be fetched")
        proxy = urlsplit(_proxy(scheme, host))
        if proxy.hostname and scheme == "http":
            path = f"http://{parts.netloc.rpartition('@')[2]}{path}"
        if kept and self._connection:
            return self._connection, path
        self.close()
        at = (proxy.hostname, proxy.port or 80) if proxy.hostname else (host, port)
        if scheme == "https":
            connection = HTTPSConnection(*at, timeout=CONNECT, context=_trusting())
        else:
            connection = HTTPConnection(*at, timeout=CONNECT)
        if proxy.hostname and scheme == "https":
            connection.set_tunnel(host, port, _credentials(proxy))
        connection.connect()
        sock: socket.socket = connection.sock
        sock.settimeout(self._stall)
        self._inside = not proxy.hostname and _inside(sock)
        self._connection, self._to = connection, (scheme, host, port)
        if self._closed:
            raise OSError("it was stopped")
        return connection, path

    # --- the body ---

    def read(self, view: memoryview) -> int:
        """Some bytes of the answer, as they come; 0 at its end. Raises Again."""
        assert self._response
        try:
            if self._response.length is None or self._response.chunked:
                data = self._response.read1(len(view))
                view[: len(data)] = data
                return len(data)
            if not self._response.length:
                return 0
            # Into the buffer at once: `read` would make an object of every piece.
            count = self._response.fp.readinto1(view[: self._response.length])
            self._response.length -= count
            return count
        except TimeoutError as error:
            self.close()
            raise Again(f"Nothing came for {self._stall:.0f} seconds") from error
        except (OSError, HTTPException, ValueError, AttributeError) as error:
            self.close()
            raise Again("The connection broke") from error

    def finish(self) -> None:
        """Done with the answer; a connection with a body left in it is of no further use."""
        response, self._response = self._response, None
        if response and (response.length or response.chunked or response.length is None):
            self.close()
        elif response:
            response.close()

    def _pass_over(self, response: HTTPResponse) -> None:
        """Read what a redirect says besides, so that the connection can be kept."""
        try:
            response.read(65536)
        except (OSError, HTTPException):
            self.close()

    def close(self) -> None:
        """End the connection; the next question makes another."""
        connection, self._connection, self._to = self._connection, None, None
        response, self._response = self._response, None
        for each in (response, connection):
            if each:
                each.close()

    def cut(self) -> None:
        """End it for good, from any thread: whoever reads from it stops at once."""
        self._closed = True
        sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with suppress(OSError):  # It may have ended by itself.
                sock.shutdown(socket.SHUT_RDWR)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or (443 if scheme == "https" else 80)


def _proxy(scheme: str, host: str) -> str:
    found = getproxies()
    if not found or proxy_bypass(host):
        return ""
    proxy = found.get(scheme) or found.get("all", "")
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(words).decode()}"}


def _inside(sock: socket.socket) -> bool:
    """Whether the other end is in the user's own network, or on this machine."""
    return _is_inside(str(sock.getpeername()[0]))


def lies_inside(host: str) -> bool:
    """Whether a name leads there; one that is not found leads nowhere."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_is_inside(str(at[0])) for *_, at in found)


def _is_inside(ip: str) -> bool:
    address = ipaddress.ip_address(ip.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


@cache
def _trusting() -> "ssl.SSLContext":
    """The certificates that the system trusts."""
    import ssl  # noqa: PLC0415 - megabytes, and a hub of one's own may do without

    try:
        import truststore  # noqa: PLC0415 - of the worker's own
    except ImportError:
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
