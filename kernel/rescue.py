"""A page for as long as the event loop stands still: it restarts without what holds it."""

import asyncio
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from kernel.logs import discreet
from kernel.watchdog import Block

if TYPE_CHECKING:
    from kernel.manager import Kernel

STYLE = Path(__file__).parent.parent / "static" / "app.css"


def without(id: str) -> list[str]:
    """The command that started this server, with one extension left out."""
    return [sys.executable, *sys.orig_argv[1:], "--no-browser", "--without", id]


def in_words(id: str) -> str:
    """The same as a person types it; a password stays where it was typed."""
    args = sys.argv[1:]
    args = args[1:] if args[:1] == ["serve"] else args
    pairs = zip(["", *args], args, strict=False)
    shown = ["…" if before == "--password" else arg for before, arg in pairs]
    shown = ["--password=…" if arg.startswith("--password=") else arg for arg in shown]
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(["python", "server.py", *shown, "--without", id])


class Rescue:
    """Answers on the server's own socket, behind the same door, as long as the loop cannot.

    `door` puts the checks of Host, Origin and session before an application, as it is done for
    the server's; `idle` are sockets with nothing under way: browsers would go on asking there.
    """

    def __init__(
        self,
        kernel: "Kernel",
        listener: socket.socket,
        door: Callable[..., ASGIApp],
        config: Callable[[ASGIApp], uvicorn.Config],
        idle: Callable[[], Sequence[Any]],
        *,
        serves: bool = os.name != "nt",  # On Windows a socket cannot be shared like that.
    ) -> None:
        self._kernel, self._listener, self._serves = kernel, listener, serves
        self._door, self._config, self._idle = door, config, idle

    def __call__(self, block: Block, free: threading.Event) -> None:
        """Offer a restart until the loop is free."""
        name = discreet(self._kernel.name(block.owner)) if block.owner else "Something"
        says = f"\n{name} holds everything up, at {discreet(block.where)}.\n"
        says += "Press Ctrl+C twice to stop Spindle; what was said is kept.\n"
        if block.owner:
            says += f"To start it without {name}:\n\n    {discreet(in_words(block.owner))}\n\n"
        sys.stderr.write(says)
        if block.owner and self._serves:
            for connection in self._idle():
                with suppress(OSError):  # Its other end is gone.
                    connection.shutdown(socket.SHUT_RDWR)
            asyncio.run(self._serve(block, free))
        else:
            free.wait()

    async def _serve(self, block: Block, free: threading.Event) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self._answer(block, free, scope)(scope, receive, send)

        server = uvicorn.Server(self._config(self._door(app, access_of=_access)))
        serving = asyncio.create_task(server.serve(sockets=[self._listener.dup()]))
        await asyncio.to_thread(free.wait)
        server.should_exit = True
        await serving

    def _answer(self, block: Block, free: threading.Event, scope: Scope) -> ASGIApp:
        if scope["type"] == "websocket":
            return WebSocketClose(1013)
        if scope["path"] == "/static/app.css":
            return FileResponse(STYLE)
        if free.is_set():
            return Response("It goes on. Reload the page.", 503, {"Refresh": "0"})
        restarts = (scope["method"], scope["path"]) == ("POST", "/restart-without")
        context = {"name": self._kernel.name(block.owner), "where": block.where}
        html = self._kernel.pages.render("rescue.html", restarts=restarts, **context)
        if not restarts:
            return HTMLResponse(html, 503)
        restart = BackgroundTask(self._restart, block.owner)
        return HTMLResponse(html, 200, {"Refresh": "3; url=/"}, background=restart)

    async def _restart(self, id: str) -> None:
        """Become a new server. Nothing is lost by it: what matters was committed as it came."""
        await asyncio.sleep(0.2)  # The answer is on its way.
        sys.stderr.write(f"Starting again without {discreet(self._kernel.name(id))}.\n")
        sys.stdout.flush()
        os.execv(sys.executable, without(id))


def _access(scope: Scope) -> str:
    return "public" if scope["path"].startswith("/static/") else "page"
