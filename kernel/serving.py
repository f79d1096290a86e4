"""A request that an extension serves: a failure of it answers 500, and its stop answers 503."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from kernel.guard import Lease, called
from kernel.points import Entry
from kernel.records import Status

if TYPE_CHECKING:
    from kernel.manager import Kernel


STOPPING = "Spindle is stopping. Try again when it is back."
REVOKED = "This key was revoked. Make another in Settings, under API keys."
OWN = ("/ws", "/ext/", "/login", "/logout")
"""What begins so is the page's, whether anything is there or not."""
NOWHERE = {
    "message": "No program finds anything here, or its extension is switched off: see /docs.",
    "type": "not_found_error", "param": None, "code": "not_found",
}  # fmt: skip


def nowhere(kernel: "Kernel", scope: Scope, tab: str) -> Response:
    """What is said where nothing answers: whose address it is and why, or that there is nothing."""
    records, path = kernel.records, str(scope["path"])
    claims = [r for r in records.values() if r.manifest and r.manifest.serves(path)]
    asleep = sorted((not r.is_(Status.STARTING), r.id) for r in claims if not r.is_(Status.RUNNING))
    owner = asleep[0][1] if asleep else tab if tab in records else ""
    starts = bool(owner) and records[owner].is_(Status.STARTING)
    status, headers = (503, {"Retry-After": "1"}) if starts else (404, {})
    if scope["method"] not in ("GET", "HEAD") or not reads_html(scope):
        error = NOWHERE | ({"code": "starting"} if starts else {})
        error |= {"message": kernel.absent(owner)} if owner else {}
        return JSONResponse({"error": error}, status, headers)
    title = "This page is not here yet" if starts else "This page does not exist"
    text = kernel.absent(owner) if owner else "Check the address."
    html = kernel.pages.render("error.html", title=title, text=text)
    headers |= {"Refresh": "1"} if starts else {}
    return HTMLResponse(html, status, headers)


def reads_html(scope: Scope) -> bool:
    """Whether a browser asks, which shows what it is told to a person."""
    return "text/html" in Headers(raw=scope.get("headers", [])).get("accept", "")


async def served(
    kernel: "Kernel", entry: Entry[Any], scope: Scope, receive: Receive, send: Send
) -> None:
    """Run an extension's ASGI application on one request, with a lease on the extension.

    There is no time limit: an answer may be a stream. One that hangs costs this request alone.
    """
    began, name = False, kernel.name(entry.owner)
    socket = scope["type"] == "websocket"
    task = asyncio.current_task()
    assert task

    async def noted(message: Message) -> None:
        nonlocal began
        await send(message)
        began = began or message["type"].endswith(".start")

    lease = Lease(entry, task.cancel)
    try:
        await called(entry.value.app, scope, receive, send if socket else noted)
        if began or socket:
            return
        raise RuntimeError("it answered nothing")
    except (ClientDisconnect, WebSocketDisconnect):
        return
    except HTTPException as refusal:
        status, text = refusal.status_code, refusal.detail
    except asyncio.CancelledError as cancelled:
        if lease.left:
            status, text = 503, f"{name} was switched off. Switch it on in Settings."
        elif not (began or socket) and scope.get("spindle.revoked", bool)():
            status, text = 401, REVOKED
        elif not (began or socket) and cancelled.args:  # By uvicorn, which says why.
            status, text = 503, STOPPING
        else:
            raise
        task.uncancel()
    except Exception as error:
        kernel.guard.failed(entry.owner, f"route {scope['path'][:80]}", error)
        status, text = 500, f"{name} failed at this. Its card in Settings says more."
    finally:
        lease.done()
    if socket:
        with suppress(Exception):  # It may be closed already.
            await send({"type": "websocket.close", "code": 1011, "reason": text[:100]})
    elif not began:
        response: Response = PlainTextResponse(text, status)
        if entry.value.access == "inference":
            kind = "authentication_error" if status == 401 else "server_error"
            response = JSONResponse({"error": {"message": text, "type": kind}}, status)
        if status == 503:
            response.headers["Retry-After"] = "1"
        await response(scope, receive, send)
