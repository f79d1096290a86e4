"""Connected pages: actions come in, HTML fragments go out through one outbox each."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from markupsafe import escape
from starlette.websockets import WebSocket, WebSocketDisconnect

from kernel.acting import Actions
from kernel.contract import Refused
from kernel.sampling import Struct

if TYPE_CHECKING:
    from kernel.manager import Kernel

PORTION = 16 << 10
"""Bytes that are written at once; asyncio makes who writes wait when it holds four times that."""
LONGEST_NOTICE = 1_000
"""Characters; what a page sends may be quoted in it."""


class Everyone(Struct, frozen=True):
    """All connected pages."""


class Conversation(Struct, frozen=True):
    """The pages that look at this conversation."""

    id: str


class Outbox:
    """What one page has not been sent yet: bounded by what it shows, never by time.

    A part with a key replaces the queued part of the same key; without, it is appended in order.
    """

    def __init__(self, *, rate: float = 30, limit: int = 1 << 20, stall: float = 15) -> None:
        self.overflowed = False
        self._pause, self._limit, self._stall = 1 / rate, limit, stall
        self._parts: dict[tuple[str, object], tuple[str, int]] = {}  # with what each counts
        self._size = 0
        self._serial = itertools.count()
        self._some = asyncio.Event()
        self._since, self._stalled = 0.0, False
        self._clock: asyncio.TimerHandle
        self._looks = itertools.count(1)

    def put(self, owner: str, html: str, key: str | None = None, *, whole: bool = False) -> None:
        """Queue a part; `whole` is a snapshot, which may be as large as what it shows."""
        index = owner, key if key is not None else next(self._serial)
        self._forget(index)
        counts = 0 if whole else len(html)
        self._parts[index] = html, counts
        self._size += counts
        if self._size > self._limit:  # Too far behind: forget it all, a fresh snapshot follows.
            self._parts.clear()
            self._size, self.overflowed = 0, True
        self._some.set()

    def drop(self, owner: str) -> None:
        """Forget what an owner queued: a snapshot taken now says it all."""
        for index in [i for i in self._parts if i[0] == owner]:
            self._forget(index)

    def _forget(self, index: tuple[str, object]) -> None:
        self._size -= self._parts.pop(index, ("", 0))[1]

    def take(self) -> list[str]:
        """All that waits. Each part is a message of its own: htmx looks up the targets of a whole
        message before it swaps any of them, so a part may name what the one before brought."""
        parts, self._parts, self._size = [html for html, _ in self._parts.values()], {}, 0
        return parts

    async def send(
        self, send: Callable[[list[bytes]], Awaitable[None]], behind: Callable[[], None]
    ) -> None:
        """Send for ever: what comes first at once, then what gathers `rate` times a second.

        After a quiet moment three may follow at once: a click is answered by several.
        """
        loop, due = asyncio.get_running_loop(), 0.0
        self._look(asyncio.current_task())
        try:
            while True:
                await self._some.wait()
                if (early := due - loop.time()) > 0:
                    await asyncio.sleep(early)
                self._some.clear()
                if self.overflowed:
                    self.overflowed = False
                    behind()
                for texts in portions(self.take()):
                    self._since = loop.time()
                    await send(texts)
                self._since = 0.0
                due = max(due, loop.time() - 3 * self._pause) + self._pause
        except asyncio.CancelledError:
            if self._stalled:
                raise TimeoutError("the page takes nothing") from None
            raise
        finally:
            self._clock.cancel()

    def _look(self, sending: "asyncio.Task[None] | None") -> None:
        """End a sending that takes too long; a clock for each would cost as much as the sending.

        Every third time say something: a page learns of a dead wire by nothing but the silence.
        """
        loop = asyncio.get_running_loop()
        if not next(self._looks) % 3:
            self.put("kernel", "", "alive")
        if sending and 0 < self._since < loop.time() - self._stall:
            self._stalled = sending.cancel()
        self._clock = loop.call_later(self._stall / 4, self._look, sending)


class Fragment(bytes):
    """A piece of a text, the rest of which follows: pings may come between."""


def portions(parts: Iterable[str]) -> Iterator[list[bytes]]:
    """A little at once, of what is larger too: a slow page that takes some is not dead."""
    texts, size = list[bytes](), 0
    for part in parts:
        text = part.encode(errors="replace")  # no half surrogates
        if texts and size + len(text) > PORTION:
            yield texts
            texts, size = [], 0
        last = max(len(text) - 1, 0) // PORTION * PORTION
        for at in range(0, last, PORTION):
            yield [Fragment(text[at : at + PORTION])]
        texts.append(text[last:])
        size += len(texts[-1])
    if texts:
        yield texts


class Client:
    """One open page; its `path`, decoded, is made of a `tab` and a `subject`."""

    def __init__(self, id: str, principal: str, path: str) -> None:
        self.id, self.principal, self.path = id, principal, path
        self.tab, _, self.subject = path.strip("/").partition("/")
        self.outbox = Outbox()
        self.near = False
        """Whether it is a page on this machine itself."""
        self.hear: Callable[[str, str], None] | None = None
        """Who acts without a page hears here what it would be told: the sentence and its kind."""
        self.place = ""
        """What tells the page the address that it was sent to last."""
        self.shows = -1
        """The contribution that its tab is, so that a restarted one is drawn anew."""


class Connected(Struct, frozen=True):
    """A page connected."""

    client: Any


class Disconnected(Struct, frozen=True):
    """A page went away."""

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
        self._ids = itertools.count(1)
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
        if client not in self.clients:
            client.outbox.take()
            self._kernel.bus.emit(Disconnected(client))

    def tell(self, text: str, to: To, kind: str = "error") -> None:
        """Show a sentence in the corner of the pages, or to who acts without one."""
        if isinstance(to, Client) and to.hear:
            return to.hear(text, kind)
        text = text if len(text) <= LONGEST_NOTICE else text[:LONGEST_NOTICE] + "…"
        said = {"id": next(self._ids), "text": text, "kind": kind, "button": None}
        self.push("kernel", self._kernel.pages.render("_toast.html", **said), to)

    def go(self, client: Client, path: str) -> None:
        """Make a path, quoted as in a link, the address of a page."""
        before, client.path = client.path, unquote(path)
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
        client = Client(str(next(self._ids)), principal, path)
        client.near = socket.scope.get("spindle.near", False)

        async def send(texts: list[bytes]) -> None:
            await socket.send({"type": "websocket.send", "texts": texts})

        async with self._connected(client, send):
            await self.snapshot(client)
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                self.receive(client, message.get("text") or "")
                await asyncio.sleep(0)  # A flood of messages must not stop the server.

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
        self._kernel.bus.emit(Connected(client))
        serving = asyncio.current_task()

        def behind() -> None:
            if client.place:  # It may be among what was given up.
                client.outbox.put("kernel", client.place, "go")
            self._spawn(self.snapshot(client))

        work = client.outbox.send(send, behind)
        sender = asyncio.create_task(work, name=f"outbox:{client.id}")
        stalled = leaving = False

        def hang_up(sender: "asyncio.Task[None]") -> None:
            nonlocal stalled  # A page that takes nothing for 15 s, or is gone, is let go.
            if serving and not leaving and not sender.cancelled():
                stalled = serving.cancel()

        sender.add_done_callback(hang_up)
        try:
            yield
        except asyncio.CancelledError:
            if not stalled:
                raise
        finally:
            leaving = True
            self.clients.discard(client)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            self._kernel.bus.emit(Disconnected(client))

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
