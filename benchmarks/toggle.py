"""Switching an extension off and on while a reply streams: python -m benchmarks.toggle

Milliseconds from sending the click's message until the card that shows the new state has come, over
a real WebSocket of a real server; the same from the moment in which an editor begins to write
another word into settings.yaml. The floor is an action that does nothing but answer, on the same
way. Beside it the longest pause in the stream that was being switched.
"""

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from random import random

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.common import arguments, header, install, load, sign_in, spread, table
from kernel.yamltext import put
from tests.live import live

REPLY = "Speak 100 100000"
CLICKS = 4
"""Pairs of off and on, and as many of nothing, in each run."""
SWITCHED = (("click", "bystander"), ("click", "models"), ("edit", "bystander"))
WAYS = [(how, id, on) for how, id in SWITCHED for on in (False, True)]


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
        return await self.after(self.socket.send(json.dumps(values)), *wanted)

    async def after(self, deed: Awaitable[object], *wanted: str) -> float:
        """Do this; milliseconds from then until a frame holds all that is wanted."""
        while not self._news.empty():
            self._news.get_nowait()
        begun = time.perf_counter()
        await deed
        async with asyncio.timeout(30):
            while True:
                frame = await self._news.get()
                if all(words in frame for words in wanted) and "ing.</p>" not in frame:
                    return (time.perf_counter() - begun) * 1000

    def longest(self, begun: float) -> float:
        """Milliseconds of the longest pause since then."""
        times = [begun, *(at for at in self.came if at > begun), time.perf_counter()]
        return max(b - a for a, b in pairwise(times)) * 1000


def edit(file: Path, id: str, on: bool) -> None:
    """What an editor does: it writes all of the file, with one word changed."""
    text = put(file.read_text("utf-8"), ("extensions", id, "enabled"), on)
    file.write_text(text, "utf-8")


async def main() -> None:
    args = arguments(__doc__)
    header("Switching an extension while a reply streams at 100 tokens/s")
    kept: dict[str, list[float]] = defaultdict(list)
    pauses: dict[str, list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        file = data / "settings.yaml"
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
                for how, id, on in WAYS:
                    kind, begun = f"{how} {id} {on}", time.perf_counter()
                    wanted = f'id="settings-{id}"', f'aria-checked="{str(on).lower()}"'
                    if how == "click":
                        took = await settings.ask(*wanted, action="settings.toggle", id=id, on=on)
                    else:
                        took = await settings.after(asyncio.to_thread(edit, file, id, on), *wanted)
                    kept[kind].append(took)
                    await asyncio.sleep(0.3 + random() / 5)  # at no fixed time of the watch
                    pauses[kind].append(chat.longest(begun))
        assert chat.longest(time.perf_counter() - 0.4) < 400, "the reply did not go on"
    labels = {
        "nothing": "floor: an action that does nothing",
        "click bystander False": "a modifier of that reply, off",
        "click bystander True": "a modifier of that reply, on",
        "click models False": "the model picker (status line), off",
        "click models True": "the model picker (status line), on",
        "edit bystander False": "a modifier of that reply, off in an editor",
        "edit bystander True": "a modifier of that reply, on in an editor",
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
