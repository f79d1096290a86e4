"""A program or a page that asks for a path, through the door that guards the real server."""

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal
from urllib.parse import unquote, urlencode

from starlette.types import Message

from kernel.app import Application
from kernel.keyring import Keyring
from kernel.manager import Kernel
from kernel.origins import Api
from kernel.records import Access
from kernel.sampling import Struct
from kernel.security import Security

PORT = 7860
HOST = f"127.0.0.1:{PORT}"
Who = Literal["page", "key", "local", "nobody"]


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Door:
    """The application behind its real checks of Host, Origin, who asks and how much is sent."""

    def __init__(self, kernel: Kernel, web: Application) -> None:
        self.keyring = Keyring(kernel.data / "secrets")
        sign_in = partial(kernel.pages.render, "token.html")
        rules = partial(kernel.settings.section, "api", Api)
        self._app = Security(
            web, self.keyring, web.access, sign_in, port=PORT, rules=rules, refused=web.refused
        )
        kernel.access = Access(key=self.keyring.key, door=self._app)
        self._session = ""

    async def fetch(
        self,
        path: str,
        method: str,
        who: Who,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        """Ask once; `headers` come on top of those that such a caller sends by itself."""
        path, _, query = path.partition("?")
        sent = {"host": HOST, **self._signed(who, method), **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in sent.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", PORT),
        }
        waiting = [{"type": "http.request", "body": body}]
        over = asyncio.Event()
        heard: list[Message] = []

        async def receive() -> Message:
            if waiting:
                return waiting.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            heard.append(message)
            if not message.get("more_body"):
                over.set() if message["type"] == "http.response.body" else None

        await self._app(scope, receive, send)
        start = heard[0]
        got = {k.decode().lower(): v.decode() for k, v in start["headers"]}
        return Answer(start["status"], got, b"".join(m.get("body", b"") for m in heard[1:]))

    def _signed(self, who: Who, method: str) -> dict[str, str]:
        if who == "key":
            return {"authorization": f"Bearer {self.keyring.key}"}
        if who == "local":
            return {}
        fetched = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
        if method not in ("GET", "HEAD"):
            fetched["origin"] = f"http://{HOST}"
        if who == "nobody":
            return fetched
        if who != "page":
            raise ValueError(f"Nobody asks as {who!r}: it is page, key, local or nobody")
        self._session = self._session or self.keyring.begin()
        return {**fetched, "cookie": f"spindle_{PORT}={self._session}"}


def encoded(
    json_: Any, form: Mapping[str, str] | None, body: bytes
) -> tuple[dict[str, str], bytes]:
    """A body, and what its header says it is."""
    if json_ is not None:
        return {"content-type": "application/json"}, json.dumps(json_).encode()
    if form is not None:
        return {"content-type": "application/x-www-form-urlencoded"}, urlencode(form).encode()
    return {}, body
