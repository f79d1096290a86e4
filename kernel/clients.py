"""Connected pages: actions come in, HTML fragments go out through an outbox each."""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from markupsafe import escape
from starlette.websockets import WebSocket, WebSocketDisconnect

from kernel.acting import Actions
from kernel.contract import Refused
from kernel.outbox import Outbox
from kernel.returning import Away
from kernel.sampling import Struct

if TYPE_CHECKING:
    from kernel.manager import Kernel

LONGEST_NOTICE = 1_000
"""Characters; what a page sends may be quoted in it."""
LEFT = (1000, 1001)
"""What a browser says that leaves a page (RFC 6455, 7.4.1), and would not come back to it."""
NEWS = 600
"""Seconds for which a notice is news to a page that comes."""


class Everyone(Struct, frozen=True):
    """All connected pages."""


class Conversation(Struct, frozen=True):
    """The pages that look at this conversation."""

    id: str


class Client:
    """One open page; its `path`, decoded, is made of a `tab` and a `subject`."""

    def __init__(self, id: str, principal: str, path: str, page: str = "") -> None:
        self.id, self.principal = id, principal
        self.page = page
        """The name by which it comes back as it was; empty when it cannot any more."""
        self.path = path
        self.tab, _, self.subject = path.strip("/").partition("/")
        self.outbox = Outbox()
        self.lost = False
        """Whether it has no connection and may come back: what it would show now is not sent."""
        self.end: Callable[[], asyncio.Task[Any] | None] = lambda: None
        """Ends its connection, and says whose end to wait for."""
        self.near = False
        """Whether it is a page on this machine itself."""
        self.hear: Callable[[str, str], None] | None = None
        """Who acts without a page hears here what it would be told: the sentence and its kind."""
        self.place, self.left = "", set[str]()
        """What tells the page the address that it was sent to last, and what it was sent from."""
        self.shows = -1
        """The contribution that its tab is, so that a restarted one is drawn anew."""


class Connected(Struct, frozen=True):
    """A page connected, which is no earlier one that has come back."""

    client: Any


class Disconnected(Struct, frozen=True):
    """A page went away, or lost its connection and did not come back within five minutes."""

    client: Any


To = Everyone | Conversation | Client
"""Whom something is for."""
EVERYONE = Everyone()


class Hub:
    """All connected pages."""

    def __init__(self, kernel: "Kernel") -> None:
        self.clients: set[Client] = set()
        self.news = Counter[str]()
        """How often each owner pushed something."""
        self.snapshot: Callable[[Client], Awaitable[None]]
        self.moved: Callable[[Client], Awaitable[None]]
        self.actions, self._kernel = Actions(kernel), kernel
        self._away = Away(lambda client: kernel.bus.emit(Disconnected(client)))
        self._ids = itertools.count(int(time()))  # Those of an earlier start are smaller.
        self.told = 0
        self._notices = deque[tuple[int, float, str]](maxlen=8)  # to all, of late
        self._tasks: set[asyncio.Task[None]] = set()

    def push(
        self, owner: str, html: str, to: To, key: str | None = None, *, whole: bool = False
    ) -> None:
        """Queue a fragment for the pages it concerns; never waits."""
        self.news[owner] += 1
        for client in self.clients:
            here = isinstance(to, Conversation) and client.subject == to.id
            if here or client is to or isinstance(to, Everyone):
                client.outbox.put(owner, html, key, whole=whole)

    def missed(self, client: Client) -> None:
        """A page may have left while something was done for it: who noted it then hears of that."""
        if client not in self.clients and not client.page:
            client.outbox.take()
            self._kernel.bus.emit(Disconnected(client))

    def tell(self, text: str, to: To, kind: str = "error") -> None:
        """Show a sentence in the corner of the pages, or to who acts without one."""
        if isinstance(to, Client) and to.hear:
            return to.hear(text, kind)
        text = text if len(text) <= LONGEST_NOTICE else text[:LONGEST_NOTICE] + "…"
        self.told = next(self._ids)
        said = {"id": self.told, "text": text, "kind": kind, "button": None}
        html = self._kernel.pages.render("_toast.html", **said)
        if isinstance(to, Everyone):
            self._notices.append((self.told, time(), html))
        if isinstance(to, Client) and to.lost:
            to.outbox.put("kernel", html)
        self.push("kernel", html, to)

    def go(self, client: Client, path: str) -> None:
        """Make a path, quoted as in a link, the address of a page."""
        before, client.path = client.path, unquote(path)
        client.left.add(before)
        client.tab, _, client.subject = client.path.strip("/").partition("/")
        html = '<span id="page-go" hidden data-path="{}" hx-swap-oob="outerHTML"></span>'
        client.place = html.format(escape(path))
        if client in self.clients:
            client.outbox.put("kernel", client.place, "go")
            if client.path != before:
                self._spawn(self.moved(client))

    async def serve(self, socket: WebSocket, principal: str) -> None:
        """Serve one page until it goes away."""
        try:
            await socket.accept()
        except WebSocketDisconnect:  # It is gone before it was let in.
            return
        path = unquote(socket.query_params.get("path", "/"))  # A browser knows it encoded.
        client = await self._page(principal, path, socket.query_params.get("page", "")[:40])
        client.near = socket.scope.get("spindle.near", False)
        told = socket.query_params.get("told", "")[:20]  # the last notice of which it knows
        for id, at, html in self._notices:
            if told.isdecimal() and id > int(told) and time() - at < NEWS:
                client.outbox.put("kernel", html)

        async def send(texts: list[bytes]) -> None:
            await socket.send({"type": "websocket.send", "texts": texts})

        async with self._connected(client, send):
            await self.snapshot(client)
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                self.receive(client, message.get("text") or "")
                await asyncio.sleep(0)  # A flood of messages must not stop the server.
            if message.get("code") in LEFT:
                client.page = ""

    async def _page(self, principal: str, path: str, page: str) -> Client:
        """A new page, or one that has come back, perhaps before its dead wire was noticed."""
        here = (c for c in self.clients if page and (c.principal, c.page) == (principal, page))
        if (old := next(here, None)) and (serving := old.end()):
            await asyncio.wait([serving], timeout=5)
        if not (client := self._away.back(principal, page)):
            client = Client(str(next(self._ids)), principal, path, page)
            self._kernel.bus.emit(Connected(client))
        client.lost = False
        if client.path != path and path in client.left:  # It never heard of that.
            client.outbox.put("kernel", client.place, "go")
        elif client.path != path:
            client.path, client.place = path, ""
            client.tab, _, client.subject = path.strip("/").partition("/")
        client.left.clear()
        return client

    def receive(self, client: Client, text: str) -> None:
        """Carry out one message of a page, in a task of its own."""
        try:
            values = msgspec.json.decode(text, type=dict[str, Any])
            values["action"] = str(values.get("action", ""))[:99]
        except (msgspec.DecodeError, RecursionError):
            return self.tell("The page sent something unreadable. Reload it.", client)
        self._spawn(self._act(client, values))

    @asynccontextmanager
    async def _connected(
        self, client: Client, send: Callable[[list[bytes]], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        self.clients.add(client)
        serving = asyncio.current_task()

        def behind() -> None:
            if client.place:  # It may be among what was given up.
                client.outbox.put("kernel", client.place, "go")
            self._spawn(self.snapshot(client))

        work = client.outbox.send(send, behind)
        sender = asyncio.create_task(work, name=f"outbox:{client.id}")
        stalled = leaving = False

        def end() -> asyncio.Task[Any] | None:
            nonlocal stalled
            stalled = bool(serving and serving.cancel())
            return serving

        def hang_up(sender: "asyncio.Task[None]") -> None:
            if not leaving and not sender.cancelled():
                end()  # A page that takes nothing for 15 s, or is gone, is let go.

        client.end = end
        sender.add_done_callback(hang_up)
        try:
            yield
        except asyncio.CancelledError:
            if not stalled:
                raise
        finally:
            leaving = client.lost = True
            self.clients.discard(client)
            # What it is told from now on waits for it; what it shows is drawn anew.
            client.outbox = Outbox()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            self._away.left(client)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act(self, client: Client, values: dict[str, Any]) -> None:
        try:
            await self.actions.act(client, values)
        except Refused as refusal:
            self.tell(str(refusal), client)
        self.missed(client)
