"""Switching an extension off and on while a reply streams: python -m benchmarks.toggle

Milliseconds from sending the click's message until the card that shows the new state has come, over
a real WebSocket of a real server. The floor is an action that does nothing but answer, on the same
way. Beside it the longest pause in the stream that was being switched.
"""

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.common import arguments, header, install, load, sign_in, spread, table
from tests.live import live

REPLY = "Speak 100 100000"
CLICKS = 4
"""Pairs of off and on, and as many of nothing, in each run."""


class Frames:
    """What one page is sent, and when."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.came: list[float] = []
        self._news: asyncio.Queue[str] = asyncio.Queue()

    async def read(self) -> None:
        async for text in self.socket:
            self.came.append(time.perf_counter())
            self._news.put_nowait(str(text))

    async def ask(self, *wanted: str, **values: object) -> float:
        """Send an action; milliseconds until a frame holds all that is wanted."""
        while not self._news.empty():
            self._news.get_nowait()
        begun = time.perf_counter()
        await self.socket.send(json.dumps(values))
        async with asyncio.timeout(30):
            while True:
                frame = await self._news.get()
                if all(words in frame for words in wanted) and "ing.</p>" not in frame:
                    return (time.perf_counter() - begun) * 1000

    def longest(self, begun: float) -> float:
        """Milliseconds of the longest pause since then."""
        times = [begun, *(at for at in self.came if at > begun), time.perf_counter()]
        return max(b - a for a, b in pairwise(times)) * 1000


async def main() -> None:
    args = arguments(__doc__)
    header("Switching an extension while a reply streams at 100 tokens/s")
    kept: dict[str, list[float]] = defaultdict(list)
    pauses: dict[str, list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        models = install(data, "metronome", "bystander")
        flags = ("--model-dir", str(models), "--model", "beat.tick")
        server = await stack.enter_async_context(live(data, args.environments_dir, *flags))
        headers = {"Cookie": sign_in(server.port, server.link), "Origin": server.address}
        address = server.address.replace("http", "ws") + "/ws?path="

        async def page(path: str) -> Frames:
            opened = connect(address + path, additional_headers=headers)
            frames = Frames(await stack.enter_async_context(opened))
            reading = asyncio.create_task(frames.read())
            stack.callback(reading.cancel)
            return frames

        settings, chat = await page("/settings"), await page("/chat")
        await settings.ask('data-state="ready"', action="metronome.nothing", word="")
        warm_up = await page("/chat")  # the first code in a reply imports its colours
        await warm_up.ask(">800 tokens", action="chat.send", text="Speak 0 800")
        await chat.ask("chat-reply", action="chat.send", text=REPLY)
        for run in range(args.runs):
            for click in range(CLICKS):
                begun = time.perf_counter()
                word = f"nothing-{run}-{click}"
                kept["nothing"].append(
                    await settings.ask(word, action="metronome.nothing", word=word)
                )
                await asyncio.sleep(0.3)
                pauses["nothing"].append(chat.longest(begun))
                for id in ("bystander", "models"):
                    for on in (False, True):
                        kind, begun = f"{id} {'on' if on else 'off'}", time.perf_counter()
                        state = f'aria-checked="{str(on).lower()}"'
                        kept[kind].append(
                            await settings.ask(
                                f'id="settings-{id}"', state, action="settings.toggle", id=id, on=on
                            )
                        )
                        await asyncio.sleep(0.3)
                        pauses[kind].append(chat.longest(begun))
        assert chat.longest(time.perf_counter() - 0.4) < 400, "the reply did not go on"
    labels = {
        "nothing": "floor: an action that does nothing",
        "bystander off": "a modifier of that reply, off",
        "bystander on": "a modifier of that reply, on",
        "models off": "the model picker (status line), off",
        "models on": "the model picker (status line), on",
    }
    rows = [("what is clicked", "ms", "longest pause of the stream, ms")]
    rows += [
        (label, spread(kept[kind], ".1f"), spread(pauses[kind], ".0f"))
        for kind, label in labels.items()
    ]
    table(rows)
    print(f"At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
