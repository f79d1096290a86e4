"""A page without a browser: it asks, and collects what it is sent."""

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from kernel.clients import Client, Connected, Disconnected

if TYPE_CHECKING:
    from kernel.testing.running import App


class Page:
    """An open page; `html` is all that it was sent so far."""

    def __init__(self, app: "App", path: str) -> None:
        self._app = app
        self.client = Client(f"test-{next(app.numbers)}", "page:test", unquote(path))
        self._html = ""

    @property
    def html(self) -> str:
        self._html += "".join(self.client.outbox.take())
        return self._html

    @html.setter
    def html(self, html: str) -> None:
        self._html = html

    async def connect(self) -> "Page":
        """Come to the server, or back, as a browser does: it sends all that the page shows."""
        if not self.client.lost:
            self._app.kernel.bus.emit(Connected(self.client))
        self.client.lost = False
        self._app.kernel.hub.clients.add(self.client)
        await self._app.web.snapshot(self.client)
        return self

    def lose(self) -> None:
        """Lose the connection; `connect` brings the same page back, as it was."""
        self._app.kernel.hub.clients.discard(self.client)
        self.client.lost = True

    def close(self) -> None:
        """Leave for good."""
        self._app.kernel.hub.clients.discard(self.client)
        self._app.kernel.bus.emit(Disconnected(self.client))

    async def act(self, action: str, **values: Any) -> None:
        """Ask for something, and wait until it was carried out."""
        before = set(asyncio.all_tasks())
        hub = self._app.kernel.hub
        hub.receive(self.client, msgspec.json.encode({"action": action, **values}).decode())
        mine = asyncio.all_tasks() - before
        await asyncio.gather(*mine, return_exceptions=True)

    async def until(self, pattern: str, seconds: float = 20) -> str:
        """Wait until what the page was sent matches; answers the match."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            if found := re.search(pattern, self.html, re.DOTALL):
                return found.group()
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{pattern!r} never came; the page got:\n{self.html[-2000:]}")
            await asyncio.sleep(0.005)
