"""The door: Host, Origin, who asks, and headers; one ASGI class in front of everything."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from kernel.firstframe import FirstFrame
from kernel.hosts import Hosts
from kernel.keyring import DAYS, MADE, Keyring, TooMany
from kernel.origins import Api, preflight, shared
from kernel.principals import (
    CARRIER,
    LIMITS,
    NEEDED,
    OF_PAGES,
    UNKNOWN,
    Principal,
    address_of,
    headers_of,
    keys_in,
)
from kernel.wrappings import HEADERS, TRUSTED, accepting, limited, protected

Headers = Mapping[str, list[str]]
Refusal = Callable[[Scope, int, str, str], Response | None]
FAR = "Only the machine that Spindle runs on may do this; see --allow-remote-install."
LARGE = "This is too large."
FOREIGN = "A page of another site sent this, so it was refused."
LESS = "This key is for replies alone. Make one with all rights, in Settings under API keys."
ODD = "This address has a line end, or something like it, in it. Correct it."
CONTROL = re.compile(r"[\0-\x1f\x7f]")
"""In no API's path: routers take `$` for the place before a last line end, too."""
PROXIES = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Headers of what hands requests on, from wherever they come."""
USED = "This link was opened before, or is of an earlier start. Paste the key from the terminal."


class Security:
    """Lets in who may, and says no to everybody else before the application sees the request.

    `access_of` names a request's class, one of `LIMITS`; what is none of them is "admin".
    `sign_in` renders the page that asks for the token (`error`, `password`).
    `refused` says no as an API does that has words of its own: by status, code and sentence.
    """

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring,
        access_of: Callable[[Scope], str],
        sign_in: Callable[..., str],
        *,
        port: int, hosts: Iterable[str] = (),
        listens: bool = False, tls: bool = False, no_auth: bool = False, far_admin: bool = False,
        rules: Callable[[], Api] = Api,
        refused: Refusal = lambda scope, status, code, says: None,
    ) -> None:  # fmt: skip
        self._refused = refused
        self._app, self.keyring, self._access_of, self._sign_in = app, keyring, access_of, sign_in
        self._listens, self._tls, self._no_auth, self._far_admin = listens, tls, no_auth, far_admin
        self.rules, self._cookie = rules, f"spindle_{port}"
        self.hosts = Hosts(port, hosts, listens=listens, tls=tls)
        self._first = FirstFrame(self._holder)
        self._live: dict[asyncio.Task[Any], Principal] = {}
        self._revoked: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers, http = headers_of(scope), scope["type"] == "http"
        name = headers.get("host", [""])[0].lower()
        trusted = self._tls or self.hosts.near(name) or self.hosts.given(name)
        send = protected(send, TRUSTED if trusted else HEADERS) if http else send
        access = self._class(scope)
        refusal, origin = self._refusal(scope, headers), ""
        if refusal == FOREIGN and access == "inference":
            origin = next((o for o in self.rules().origins if [o] == headers.get("origin")), "")
        if refusal and not origin:
            return await _answer(PlainTextResponse(refusal, 403), scope, receive, send)
        if access == "inference" and CONTROL.search(scope["path"]):
            return await _answer(PlainTextResponse(ODD, 400), scope, receive, send)
        send = shared(send, origin) if origin else send
        asks = http and scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if origin and asks:  # It comes without a key, and does nothing.
            return await preflight(headers)(scope, receive, send)
        who = self._who(scope, headers, origin)
        if http and (response := await self._sign(scope, headers, receive, who)):
            return await response(scope, receive, send)
        program = not http and "origin" not in headers  # A page offers a subprotocol instead.
        keyless = access in ("inference", "admin") and not any(keys_in(scope, headers))
        if program and keyless and who.kind == "nobody":
            heard, receive, send = await self._first.heard(scope, receive, send, address_of(scope))
            if not heard:
                return
            who, access = heard, self._class(scope)  # What answers there may have come meanwhile.
        near = self._near(scope, headers)
        if access != "public" and not who.may(access):
            return await _answer(self._ask(scope, headers, access, who), scope, receive, send)
        if access == "admin" and not (near or self._far_admin):
            no = self._refused(scope, 403, "only_near", FAR)
            return await _answer(no or PlainTextResponse(FAR, 403), scope, receive, send)
        if int("0" + headers.get("content-length", [""])[0]) > LIMITS[access]:
            no = self._refused(scope, 413, "body_too_large", LARGE)
            return await (no or PlainTextResponse(LARGE, 413))(scope, receive, send)
        offered: list[str] = scope.get("subprotocols", [])
        plain = [name for name in offered if not name.startswith(CARRIER)]
        scope = {**scope, "spindle.principal": who, "spindle.near": near, "subprotocols": plain}
        receive = limited(receive, LIMITS[access])
        await self._run(scope, receive, send if http else accepting(send, offered, plain), who)

    def revoke(self, ends: Callable[[Principal], bool]) -> None:
        """Close what is open of principals whose session or key has ended."""
        for task, principal in self._live.items():
            if ends(principal) and task is not asyncio.current_task():
                self._revoked.add(task)
                task.cancel()

    def drop_keys(self) -> None:
        """Close what is open of keys that count no more."""
        self.revoke(lambda who: who.kind == "key" and not self.keyring.counts(who.id))

    async def _run(self, scope: Scope, receive: Receive, send: Send, who: Principal) -> None:
        task = asyncio.current_task()
        assert task
        self._live[task] = who

        def adopt(key: str) -> Principal:
            """This is the key's holder's from now on; LookupError says why it cannot be."""
            if not (holder := self._holder(key, who.origin)):
                raise LookupError(UNKNOWN)
            self._live[task] = holder
            return holder

        scope["spindle.adopt"] = adopt
        scope["spindle.revoked"] = lambda: task in self._revoked
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if task not in self._revoked:
                raise
            task.uncancel()
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "signed out"})
        finally:
            self._live.pop(task, None)
            self._revoked.discard(task)

    def _class(self, scope: Scope) -> str:
        return said if (said := self._access_of(scope)) in LIMITS else "admin"

    def _refusal(self, scope: Scope, headers: Headers) -> str:
        """Why the request is none of ours: another name (rebinding), or a foreign page sent it."""
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not host or not self.hosts.known(host, scope.get("server")):
            return "This server does not go by that name. Allow it with --allowed-host NAME."
        own = {"http", "https"} if self.hosts.given(host) else {"https" if self._tls else "http"}
        if origins:
            ours = [[f"{scheme}://{host}"] for scheme in own]
            return "" if [origin.lower() for origin in origins] in ours else FOREIGN
        site, mode = headers.get("sec-fetch-site", ["none"]), headers.get("sec-fetch-mode")
        whole = headers.get("sec-fetch-dest", ["document"]) == ["document"]  # and in no frame
        link = mode == ["navigate"] and whole and scope.get("method") in ("GET", "HEAD")
        return "" if link or site in (["none"], ["same-origin"]) else FOREIGN

    def _who(self, scope: Scope, headers: Headers, foreign: str) -> Principal:
        keys = keys_in(scope, headers)
        if holder := next(filter(None, (self._holder(key, foreign) for key in keys)), None):
            return holder
        if foreign:  # A session is for our own page alone, whatever its browser sends along.
            return Principal("nobody")
        origin = "origin" in headers
        cookies = ";".join(headers.get("cookie", [])).split(";")
        pairs = [cookie.strip().partition("=") for cookie in cookies]
        sessions = [self.keyring.session(text) for name, _, text in pairs if name == self._cookie]
        if any(sessions) and (origin or scope["type"] == "http"):
            return Principal("page", next(filter(None, sessions)))
        if self._no_auth:
            return Principal("page", "owner")
        guarded = self._listens or self.keyring.has_password or self.rules().require_key
        guarded = guarded or any(map(MADE.fullmatch, keys))  # It was revoked, or mistyped.
        browser = origin or any(name.startswith("sec-fetch-") for name in headers)
        if self._near(scope, headers) and not browser and not guarded:
            return Principal("local", "local")
        return Principal("nobody")

    def _holder(self, said: str, foreign: str = "") -> Principal | None:
        """Who has the key with these words."""
        if not (key := self.keyring.find(said)):
            return None
        rights, more = "generate" if foreign else key.scope, (key.name, key.at_once, key.tokens)
        return Principal("key", key.id, rights, foreign, *more)

    def _near(self, scope: Scope, headers: Headers) -> bool:
        """Whether it comes from this machine itself, and not by way of a proxy with a name."""
        ip, host = (scope.get("client") or ("",))[0], headers["host"][0].lower()
        direct = not any(name in headers for name in PROXIES)
        return ip in ("127.0.0.1", "::1") and self.hosts.near(host) and direct

    def _ask(self, scope: Scope, headers: Headers, access: str, who: Principal) -> Response:
        if who.kind == "key":
            return self._no(scope, 403, "insufficient_scope", LESS)
        if access in OF_PAGES and "text/html" in headers.get("accept", [""])[0]:
            # From a link on another site the browser withheld the cookie; from here it sends it.
            foreign = headers.get("sec-fetch-site") in (["cross-site"], ["same-site"])
            return self._form("", 401, {"Refresh": "0"} if foreign else {}, _asked(scope))
        says = UNKNOWN if any(keys_in(scope, headers)) else NEEDED
        response = self._no(scope, 401, "invalid_api_key", says)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _no(self, scope: Scope, status: int, code: str, says: str) -> Response:
        """As the API says it that was asked, else as OpenAI does."""
        kind = "authentication_error" if status == 401 else "permission_error"
        error = {"message": says, "type": kind, "param": None, "code": code}
        return self._refused(scope, status, code, says) or JSONResponse({"error": error}, status)

    def _form(
        self, error: str, status: int, headers: Mapping[str, str] = {}, next: str = ""
    ) -> Response:
        html = self._sign_in(error=error, password=self.keyring.has_password, next=next)
        return HTMLResponse(html, status, headers)

    async def _sign(
        self, scope: Scope, headers: Headers, receive: Receive, who: Principal
    ) -> Response | None:
        """What this class serves itself: launch links, /login, /logout, and a sign of life."""
        route, address, target = (scope["method"], scope["path"]), address_of(scope), "/"
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        said = next((value for name, value in query if name == "token"), "")
        try:
            if route[0] == "GET" and said and self._access_of(scope) in OF_PAGES:
                target = _asked(scope)
                if who.kind == "page":
                    return RedirectResponse(target, 303)
                if not self.keyring.opens(said):
                    return self._form(USED, 401, next=target)
            elif route == ("POST", "/login"):
                body = await Request(scope, limited(receive, LIMITS["public"])).body()
                fields = parse_qs(body.decode("utf-8", "replace"))
                said = [*fields.get("password", []), *fields.get("token", []), ""][0]
                target = _here([*fields.get("next", []), ""][0])
                if not await self.keyring.admit(said, address):
                    return self._form("That is not it. Try again.", 401, next=target)
            elif route == ("POST", "/logout"):
                if who.kind == "page" and who.id != "owner":
                    self.revoke(lambda other: other == who)
                    await asyncio.to_thread(self.keyring.leave, who.id)
                response = RedirectResponse("/login", 303)
                response.delete_cookie(self._cookie, httponly=True, samesite="strict")
                return response
            elif route == ("GET", "/login"):
                return RedirectResponse("/", 303) if who.kind == "page" else self._form("", 200)
            elif route == ("HEAD", "/") and who.kind == "local":  # Ollama's programs ask it first.
                return Response()
            else:
                return None
        except TooMany as wait:
            return self._form(str(wait), 429, {"Retry-After": str(wait.seconds)}, target)
        except HTTPException as large:
            return PlainTextResponse(large.detail, large.status_code)
        response, age, cookie = RedirectResponse(target, 303), DAYS * 86400, self.keyring.begin()
        secure = self._tls or scope["scheme"] == "https"
        response.set_cookie(self._cookie, cookie, age, None, "/", None, secure, True, "strict")
        return response


def _here(path: str) -> str:
    """A path on this server, whatever else it was made to look like."""
    return "/" + path.lstrip("/\\")


def _asked(scope: Scope) -> str:
    """The page that was asked for, without the token of a launch link."""
    query = parse_qsl(scope["query_string"].decode("latin-1"))
    rest = urlencode([pair for pair in query if pair[0] != "token"])
    return _here(quote(scope["path"].lstrip("/\\")) + (f"?{rest}" if rest else ""))


async def _answer(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """A refusal; a WebSocket is closed before it is accepted, which a browser sees as 403."""
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    await response(scope, receive, send)
