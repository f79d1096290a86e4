"""A conversation of 50,000 messages, 100 MB, beside one of 100: python -m benchmarks.conversations

What a person waits for must not grow with it: to open it, to send a message, to save a reply as it
grows. Floors: SQLite itself writing one such row to the same file and waiting for the disk, and a
page of the same server without a conversation. R10 of the fault tests: open within a second to the
first paint, 200 ms at most between Enter and the message kept and on its way back to the page.
"""

import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from playwright.async_api import Browser

from benchmarks.common import arguments, header, load, spread, table
from extensions.conversations.store import Store
from kernel.testing import Scripted, running
from tests.live import chromium, live

SIZES = (100, 50_000)
WORDS = 2000
"""Characters of a message: 50,000 of them are 100 MB."""


def make(path: Path, messages: int) -> str:
    """A conversation so long, question and answer in turn; its id."""
    asyncio.run(_empty(path))
    chance, id = random.Random(1), "long0000"
    words = ["".join(chance.choices("etaoinshrdlu", k=6)) for _ in range(3000)]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO conversations (id, title, leaf, touched, created, updated)"
            " VALUES (?, 'A long one', ?, 1, 0, 0)",
            (id, f"m{messages - 1}"),
        )
        database.executemany(
            "INSERT INTO messages (id, conversation, parent, child, role, text, state, created)"
            " VALUES (?, ?, ?, ?, ?, ?, 'done', 0)",
            (
                (
                    f"m{n}",
                    id,
                    f"m{n - 1}" if n else None,
                    f"m{n + 1}" if n + 1 < messages else None,
                    ("user", "assistant")[n % 2],
                    " ".join(chance.choices(words, k=WORDS // 7)),
                )
                for n in range(messages)
            ),
        )
    return id


async def _empty(path: Path) -> None:
    path.parent.mkdir(parents=True)
    async with Store.open(path):
        pass


async def timed(times: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds of each of so many calls."""
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        found.append(1000 * (time.perf_counter() - began))
    return found


def raw(path: Path, times: int) -> list[float]:
    """The floor of a save: one row, one commit, one wait for the disk."""
    found: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("PRAGMA synchronous = FULL; CREATE TABLE floor (text TEXT);")
        for _ in range(times):
            began = time.perf_counter()
            database.execute("INSERT INTO floor VALUES (?)", ("x" * WORDS,))
            found.append(1000 * (time.perf_counter() - began))
        database.execute("DROP TABLE floor")
    return found


async def of_the_store(path: Path, id: str, runs: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"SQLite: one row (floor)": raw(path, runs)}

    async def opened() -> None:
        async with Store.open(path) as store:
            await store.list()
            await store.get(id)

    found["open the file, read its end"] = await timed(runs, opened)
    async with Store.open(path, interval=3600) as store:
        found["read its end"] = await timed(runs, lambda: store.get(id))
        found["keep a message"] = await timed(runs, lambda: store.add_user(id, "y" * WORDS))
        reply = await store.begin_reply((await store.conversation(id)).leaf)

        async def grown() -> None:
            store.grow(reply.id, "z" * WORDS, "z" * WORDS)
            await store._save(durable=False)

        found["save a growing reply"] = await timed(runs, grown)
        await store.finish(reply.id, "done", "z", "z")
        found["back it all up"] = await timed(3, lambda: store.backup("asked"))
    return found


async def of_the_page(data: Path, id: str, runs: int) -> list[float]:
    """From Enter to the message on its way back, kept, and the reply begun."""
    async with running("conversations", "chat", model=Scripted("Yes."), data=data) as app:
        page = app.page(f"/chat/{id}")
        await app.web.snapshot(page.client)
        found: list[float] = []
        for n in range(runs):
            page.html = ""
            page.client.outbox.take()
            began = time.perf_counter()
            await page.act("chat.send", conversation=id, text=f"question {n}")
            found.append(1000 * (time.perf_counter() - began))
            await page.until("Yes\\.")
            await asyncio.sleep(0.05)
        return found


async def painted(browser: Browser, data: Path, environments: Path, path: str) -> list[float]:
    """Milliseconds to the first paint, as Chromium tells; each time in a page of its own."""
    (models := data / "no-models").mkdir(exist_ok=True)
    found: list[float] = []
    async with live(data, environments, "--model-dir", str(models)) as server:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(server.link)
        for _ in range(3):
            await page.goto(server.address + path)
            await page.wait_for_selector("#main")
            said = await page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
            )
            found.append(said)
        await context.close()
    return found


async def main() -> None:
    flags = arguments(__doc__)
    header("Long conversations")
    rows: dict[str, list[list[float]]] = {}
    for messages in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            id = await asyncio.to_thread(make, data / "chats.sqlite3", messages)
            figures = await of_the_store(data / "chats.sqlite3", id, flags.runs * 4)
            figures["send in the page"] = await of_the_page(data, id, flags.runs * 2)
            async with chromium() as browser:
                for name, path in (("empty page (floor)", "/chat"), ("it", f"/chat/{id}")):
                    figures[f"first paint: {name}"] = await painted(
                        browser, data, flags.environments_dir, path
                    )
            for name, values in figures.items():
                rows.setdefault(name, []).append(values)
    titles = [f"{n:,} messages, ms" for n in SIZES]
    lines = [
        [name, *(spread(v) for v in both), f"{_ratio(both):.1f}"] for name, both in rows.items()
    ]
    table([["", *titles, "ratio"], *lines])
    print(f"Median (lowest to highest); {load()}")


def _ratio(both: list[list[float]]) -> float:
    small, large = (statistics.median(values) for values in both)
    return large / small


if __name__ == "__main__":
    asyncio.run(main())
