"""A reply of 200 KB: python -m benchmarks.large

Markdown with lists, tables and code, in a conversation that is opened. How long it takes until the
page shows it, the first time and when the server has drawn it before, and how long another page
waits for an answer meanwhile. The floors are the same text read as markdown once by a process that
does nothing else, and that other page's wait while all is quiet.
"""

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from playwright.async_api import Page
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.common import HERE, arguments, header, install, load, spread, table
from extensions.chat.markdown import Markdown
from extensions.conversations.api import Store
from tests.live import chromium, live

SIZE = 200_000
ENDS = "Here the large reply ends."


async def fill(data: Path, text: str, count: int) -> list[str]:
    """Conversations that have this reply, one for each run: a server remembers what it drew."""
    ids: list[str] = []
    async with Store.open(data / "chats.sqlite3") as store:
        for _ in range(count):
            said = await store.add_user("", "Write a lot.")
            reply = await store.begin_reply(said.id, model="metronome", loader="metronome")
            await store.finish(reply.id, "done", text, text)
            ids.append(said.conversation)
    return ids


class Other:
    """Another page, which asks for nothing again and again."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._count = socket, 0

    async def ask(self) -> float:
        """Milliseconds until the answer."""
        self._count += 1
        word, begun = f"nothing-{self._count}-", time.perf_counter()
        await self._socket.send(json.dumps({"action": "metronome.nothing", "word": word}))
        while word not in str(await self._socket.recv()):
            pass
        return (time.perf_counter() - begun) * 1000

    async def during(self, work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        """Milliseconds that the work took, and the longest wait meanwhile."""
        begun, task, waits = time.perf_counter(), asyncio.ensure_future(work()), [0.0]
        while not task.done():
            waits.append(await self.ask())
            await asyncio.sleep(0.005)
        await task
        return (time.perf_counter() - begun) * 1000, max(waits)


async def shown(page: Page, address: str) -> None:
    """Open a conversation; until its last words are in the page and laid out."""
    await page.goto(address, wait_until="commit")
    await page.wait_for_function(
        "end => { const all = document.querySelector('.chat-reply .chat-body');"
        " return all?.textContent.includes(end) && all.getBoundingClientRect().height > 0; }",
        arg=ENDS,
    )


async def main() -> None:
    args = arguments(__doc__)
    text = (HERE / "metronome" / "text.md").read_text("utf-8") + "\n\n"
    text = text * (SIZE // len(text.encode())) + ENDS
    header(f"A reply of {len(text.encode()) / 1000:.0f} KB")
    kept: dict[str, list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        models = install(data, "metronome")
        conversations = await fill(data, text, args.runs)
        flags = ("--model-dir", str(models), "--model", "beat.tick")
        server = await stack.enter_async_context(live(data, args.environments_dir, *flags))
        page = await (await stack.enter_async_context(chromium())).new_page()
        await page.goto(server.link)
        known = await page.context.cookies()
        cookies = "; ".join(f"{each.get('name')}={each.get('value')}" for each in known)
        headers = {"Cookie": cookies, "Origin": server.address}
        address = server.address.replace("http", "ws") + "/ws?path=/settings"
        socket = await stack.enter_async_context(connect(address, additional_headers=headers))
        other, markdown = Other(socket), Markdown(lambda language, html: html)
        for conversation in conversations:
            begun = time.process_time()
            markdown.render(text)
            kept["floor"].append((time.process_time() - begun) * 1000)
            kept["quiet"].append(max([await other.ask() for _ in range(50)]))
            where = f"{server.address}/chat/{conversation}"
            for name in ("first", "again"):
                took, wait = await other.during(lambda where=where: shown(page, where))
                kept[name].append(took)
                kept[f"{name} wait"].append(wait)
    rows = [("what", "ms")]
    labels = {
        "floor": "floor: the text read as markdown once, CPU",
        "first": "opened for the first time, until it is in the page",
        "first wait": "  the longest that another page waits meanwhile",
        "again": "opened again",
        "again wait": "  the longest that another page waits meanwhile",
        "quiet": "floor: the longest of 50 answers while all is quiet",
    }
    rows += [(label, spread(kept[name], ".0f")) for name, label in labels.items()]
    table(rows)
    print(f"At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
