"""A reply of 200 tokens a second into a chat of 2,000 messages: python -m benchmarks.longchat

All messages are in the page, in Chromium. The tokens are numbers that an engine says by the clock
(benchmarks/metronome), so that the page's words tell how late they are. The floor is the same reply
in a new conversation.
"""

import asyncio
import re
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from playwright.async_api import CDPSession, Page

from benchmarks.common import HERE, arguments, child, cpu, header, install, load, spread, table
from extensions.conversations.api import Store
from tests.live import chromium, live

RATE, SECONDS = 200, 10
SEEN = """() => {
  window.seen = [];
  window.last = performance.now();
  window.longest = 0;
  const number = element => +(element?.textContent.match(/(\\d+)\\s*$/)?.[1] ?? 0);
  const watch = new MutationObserver(() => {
    const reply = document.getElementById('chat-log').lastElementChild;
    if (!reply?.matches('.chat-reply.streaming')) return;
    const open = document.getElementById(reply.id + '-open'), closed = open.previousElementSibling;
    const said = number(open) || number(closed.lastElementChild);
    if (said) seen.push([performance.timeOrigin + performance.now(), said]);
  });
  const all = {subtree: true, childList: true, characterData: true};
  watch.observe(document.querySelector('.chat-log'), all);
  const beat = () => {
    const now = performance.now();
    window.longest = Math.max(window.longest, now - window.last);
    window.last = now;
    window.beating = setTimeout(beat, 5);
  };
  beat();
}"""
"""Note when which number stands in the page, and how long nothing else could run at most."""


async def fill(data: Path, messages: int) -> str:
    """A conversation of that many messages; answers its id."""
    text = (HERE / "metronome" / "text.md").read_text("utf-8")
    replies = [each.strip() for each in re.split(r"(?m)^(?=# )", text) if each.strip()] or [text]
    async with Store.open(data / "chats.sqlite3") as store:
        id = ""
        for n in range(messages // 2):
            said = await store.add_user(id, f"Question {n}: how does that go?")
            id = said.conversation
            reply = await store.begin_reply(said.id, model="metronome", loader="metronome")
            words = replies[n % len(replies)][: 200 + 37 * (n % 20)]
            await store.finish(reply.id, "done", words, words)
    return id


class Watched:
    """One page of one server."""

    def __init__(self, page: Page, address: str, pid: int, stamps: Path) -> None:
        self.page, self._address, self._pid, self._stamps = page, address, pid, stamps
        self._cdp: CDPSession | None = None

    async def open(self, path: str) -> None:
        await self.page.goto(self._address + path)
        await self.page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=60_000)
        await self.page.wait_for_selector("html[data-ui-link=online]")

    async def show_all(self, messages: int) -> float:
        """Fetch the earlier messages until all are there; milliseconds for the last hundred."""
        took, count = 0.0, await self._count()
        while count < messages:
            begun = time.perf_counter()
            await self.page.click("#chat-earlier-show")
            more = "n => document.querySelectorAll('.chat-log article').length > n"
            await self.page.wait_for_function(more, arg=count)
            took, count = (time.perf_counter() - begun) * 1000, await self._count()
        return took

    async def _count(self) -> int:
        return await self.page.locator(".chat-log article").count()

    async def _task(self) -> float:
        """Seconds that the page's main thread was at work."""
        if not self._cdp:
            self._cdp = await self.page.context.new_cdp_session(self.page)
            await self._cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
        metrics = (await self._cdp.send("Performance.getMetrics"))["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    async def reply(self) -> dict[str, float]:
        """Ask for the numbers, and measure while they come."""
        tokens = RATE * SECONDS
        await self.page.evaluate(SEEN)
        await self.page.fill("#chat-text", f"Count {RATE} {tokens}")
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_selector("#chat-go[data-busy=true]")
        await asyncio.sleep(1)
        begun, page, server = time.perf_counter(), await self._task(), cpu(self._pid)
        await asyncio.sleep(SECONDS - 3)
        page, server = await self._task() - page, cpu(self._pid) - server
        took = time.perf_counter() - begun
        await self.page.wait_for_selector("#chat-go[data-busy=false]", timeout=60_000)
        _, first, last = map(float, self._said()[-1].split())
        seen: Any = await self.page.evaluate("clearTimeout(beating), seen")
        late = sorted(at - (first + (number - 1) / RATE) * 1000 for at, number in seen)
        return {
            "median": statistics.median(late),
            "p99": late[len(late) * 99 // 100],
            "longest": await self.page.evaluate("longest"),
            "page": page / took * 100,
            "server": server / took * 100,
            "loss": ((last - first) / ((tokens - 1) / RATE) - 1) * 100,
        }

    def _said(self) -> list[str]:
        return self._stamps.read_text().splitlines()


async def main() -> None:
    args = arguments(__doc__, messages=2000)
    header(f"{RATE} tokens a second into a chat of {args.messages:,} messages")
    kept: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        models = install(data, "metronome")
        conversation = await fill(data, args.messages)
        flags = ("--model-dir", str(models), "--model", "beat.tick")
        server = await stack.enter_async_context(live(data, args.environments_dir, *flags))
        context = await (await stack.enter_async_context(chromium())).new_context()
        page = await context.new_page()
        await page.goto(server.link)
        stamps = models / "beat.stamps"
        watched = Watched(page, server.address, child(server.port), stamps)
        for _ in range(args.runs):
            await watched.open(f"/chat/{conversation}")
            kept["long"]["earlier"].append(await watched.show_all(args.messages))
            for what, value in (await watched.reply()).items():
                kept["long"][what].append(value)
            await watched.open("/chat")
            for what, value in (await watched.reply()).items():
                kept["new"][what].append(value)
    rows = [("", f"{args.messages:,} messages", "floor: a new conversation")]
    labels = {
        "median": "a token is in the page after, median, ms",
        "p99": "99 of 100 within, ms",
        "longest": "longest time the page was busy at one go, ms",
        "page": "browser main thread, % of a core",
        "server": "server, % of a core",
        "loss": "the engine's loss of rate, %",
    }
    rows += [
        (label, spread(kept["long"][what], ".1f"), spread(kept["new"][what], ".1f"))
        for what, label in labels.items()
    ]
    table(rows)
    last = spread(kept["long"]["earlier"], ".0f")
    print(f"The hundred earliest messages come {last} ms after the click. At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
