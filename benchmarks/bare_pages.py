"""A server of WebSockets and nothing else, as a floor: bare_pages.py PORT RATE SECONDS.

The same server library with the same settings as Spindle's; every open page gets the same words,
from a SIGUSR1 on.
"""

import asyncio
import signal
import sys
import time

import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks.metronome import FILLING, WORD

RATE, SECONDS = map(int, sys.argv[2:])
PAGES: set[Send] = set()


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    PAGES.add(send)
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        PAGES.discard(send)


async def broadcast() -> None:
    """Whenever a signal asks for it."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for n in range(RATE * SECONDS):
        await asyncio.sleep(max(0.0, begun + n / RATE - loop.time()))
        text = WORD.format(f"{FILLING} at {time.time()} ")
        for send in tuple(PAGES):
            await send({"type": "websocket.send", "text": text})


async def main() -> None:
    tasks: set[asyncio.Task[None]] = set()
    begin = lambda: tasks.add(asyncio.create_task(broadcast()))  # noqa: E731
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin)
    config = uvicorn.Config(
        page,
        port=int(sys.argv[1]),
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="error",
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
