"""What a token costs on its way to a real page, and the first one's delay: python -m
benchmarks.streaming

An engine that keeps time (benchmarks/metronome) speaks at two speeds into a page in Chromium. The
floors: the same reply taken from the kernel without a page, the server and the page while nothing
is said, and the bare worker's first token. CPU time, medians of several runs, kinds in turn.
"""

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, CDPSession, Page, WebSocket

from benchmarks.common import (
    HERE,
    ROOT,
    arguments,
    child,
    cpu,
    header,
    install,
    load,
    resident,
    spread,
    table,
)
from kernel.contract import Message, Request, Sampling, Text, Turn
from kernel.environments import python_of
from kernel.testing import App, running
from kernel.worker import Worker
from tests.live import Live, chromium, live

RATES = (100, 400)
SECONDS = 5
"""Of speech in each run."""
AFTER = 1.5
"""Seconds in which the end of a reply reaches the page."""
FIRST = """text => new Promise(done => {
  const now = () => performance.timeOrigin + performance.now();
  const all = () => document.querySelectorAll('article.chat-reply .chat-body');
  const before = all().length;
  let clicked;
  const watch = new MutationObserver(() => {
    const replies = all();
    if (replies.length === before || !replies[before].textContent.trim()) return;
    watch.disconnect();
    const seen = now();
    requestAnimationFrame(() => setTimeout(() => done([clicked, seen, now()])));
  });
  watch.observe(document.body, {subtree: true, childList: true, characterData: true});
  document.querySelector('#chat-text').value = text;
  clicked = now();
  document.querySelector('#chat-submit').click();
})"""
"""Send, and answer when that was, when the first word was in the page, and when it was painted."""


class Watching:
    """A page of the chat, what its main thread spends and what comes over its socket."""

    def __init__(self, page: Page, server: Live) -> None:
        self.page, self.server, self.pid = page, server, child(server.port)
        self.bytes = self.frames = 0
        self._cdp: CDPSession | None = None
        page.on("websocket", self._socket)

    def _socket(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self._frame(frame))

    def _frame(self, frame: str | bytes) -> None:
        self.frames += 1
        self.bytes += len(frame.encode() if isinstance(frame, str) else frame)

    async def begin(self) -> None:
        """A new conversation, all quiet."""
        await self.page.goto(f"{self.server.address}/chat")
        await self.page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=60_000)
        await self.page.wait_for_selector("html[data-ui-link=online]")
        await asyncio.sleep(0.5)

    async def spent(self) -> dict[str, float]:
        """Seconds of CPU: of the server, and of the page's main thread with its parts."""
        if not self._cdp:
            self._cdp = await self.page.context.new_cdp_session(self.page)
            await self._cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
        metrics = (await self._cdp.send("Performance.getMetrics"))["metrics"]
        known = {each["name"]: each["value"] for each in metrics}
        parts = ("Task", "Script", "Layout", "RecalcStyle")
        page = {part: known[f"{part}Duration"] for part in parts}
        return {"server": cpu(self.pid), "bytes": self.bytes, "frames": self.frames, **page}

    async def stream(self, rate: int) -> dict[str, float]:
        """One reply at this rate (0: nothing is said); what it took, as `spent` says it."""
        await self.begin()
        before = await self.spent()
        if rate:
            await self.page.fill("#chat-text", f"Speak {rate} {rate * SECONDS}")
            await self.page.keyboard.press("Enter")
        await asyncio.sleep(SECONDS + AFTER)
        after = await self.spent()
        if rate:
            said = await self.page.locator("article.chat-reply").inner_text()
            assert f"{rate * SECONDS:,} tokens" in said, f"the reply is not complete: {said[-99:]}"
        return {name: after[name] - before[name] for name in after}

    async def first(self, text: str, anew: bool) -> tuple[float, float, float]:
        """Send, in a new conversation or the one shown; when was it clicked, seen, painted."""
        if anew:
            await self.begin()
        else:
            await asyncio.sleep(0.5)
        clicked, seen, painted = await self.page.evaluate(FIRST, text)
        await self.page.wait_for_selector("#chat-go[data-busy=false]")
        return clicked, seen, painted


async def without_page(app: App, rate: int) -> float:
    """Seconds of CPU for the same reply, taken from the kernel."""
    begun, said = time.process_time(), 0
    async for delta in app.run(Turn(prompt=f"Speak {rate} {rate * SECONDS}")):
        said += len(delta.tokens)
    assert said == rate * SECONDS
    await asyncio.sleep(AFTER)
    return time.process_time() - begun


async def bare(worker: Worker, text: str) -> float:
    """Seconds to the first words from an engine with nothing around it."""
    request = Request(
        messages=(Message("user", (Text(text),)),), sampling=Sampling(max_new_tokens=2048)
    )
    begun, first = time.perf_counter(), 0.0
    async for delta in worker.generate(request):
        if delta.text.strip() and not first:
            first = time.perf_counter() - begun
    return first


@asynccontextmanager
async def engine(python: Path, code: Path, model: Path) -> AsyncGenerator[Worker]:
    """A worker with a model, without a server."""
    worker = await Worker.start(python, f"{code}:Engine")
    try:
        await worker.load(model, {})
        yield worker
    finally:
        await worker.close()


async def costs(page: Watching, app: App, runs: int) -> None:
    """The cost of a token at each rate."""
    kept: dict[tuple[int, str], list[float]] = defaultdict(list)
    for _ in range(runs):
        for rate in (0, *RATES):
            tokens = rate * SECONDS or 1
            for name, value in (await page.stream(rate)).items():
                kept[rate, name].append(value / tokens * (1 if name == "bytes" else 1000))
            if rate:
                kept[rate, "kernel"].append(await without_page(app, rate) / tokens * 1000)
    names = {
        "server": "server CPU ms",
        "kernel": "  floor: the kernel without a page",
        "Task": "browser main thread CPU ms",
        "Script": "  of it scripts",
        "Layout": "  of it layout",
        "RecalcStyle": "  of it styles",
        "bytes": "bytes on the WebSocket",
    }
    window = SECONDS + AFTER
    rows = [("a token", *(f"at {rate} tokens/s" for rate in RATES), "idle page, a second")]
    for name, label in names.items():
        cells = [spread(kept[rate, name], ".3f" if name != "bytes" else ".1f") for rate in RATES]
        idle = kept.get((0, name))
        rows.append((label, *cells, spread([each / window for each in idle]) if idle else ""))
    for name, label in (("server", "server"), ("Task", "browser main thread")):
        shares = [
            f"{statistics.median(kept[rate, name]) * rate / 10:.1f} % of a core" for rate in RATES
        ]
        rows.append((f"so the {label} takes", *shares, ""))
    table(rows)
    print(f"Server after this: {resident(page.pid):.1f} MB resident.\n")


async def first_token(
    label: str, page: Watching, worker: Worker, texts: list[str], stamps: Path | None, anew: bool
) -> list[tuple[str, str]]:
    """From the click to the first word, beside the bare worker's; `stamps` the engine wrote."""
    kept: dict[str, list[float]] = defaultdict(list)
    for n, text in enumerate(texts):
        clicked, seen, painted = await page.first(text, anew or not n)
        alone = await bare(worker, text) * 1000
        if not n:
            continue  # a warm-up
        kept["  floor: the bare worker's first token"].append(alone)
        kept["  click to the word in the page"].append(seen - clicked)
        kept["  so it adds"].append(seen - clicked - alone)
        kept["  click to after the next paint"].append(painted - clicked)
        if stamps:
            said = stamps.read_text().splitlines()  # noqa: ASYNC240  it is two lines
            asked, first, _ = map(float, said[-1].split())
            kept["  of it: click to the engine has the request"].append(asked * 1000 - clicked)
            kept["  of it: the engine's first token to the page"].append(seen - first * 1000)
    return [(label, ""), *((name, spread(values, ".1f")) for name, values in kept.items())]


async def main() -> None:
    args = arguments(__doc__)
    header("Streaming")
    python = python_of(args.environments_dir / "xllamacpp")
    async with AsyncExitStack() as stack:
        enter: Any = stack.enter_async_context
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = install(scratch / "one", "metronome")
        alone = scratch / "alone"
        alone.mkdir()
        (alone / "environments").symlink_to(args.environments_dir)
        flags = ("--model-dir", str(models), "--model", "beat.tick")
        scripted = await enter(live(scratch / "one", args.environments_dir, *flags))
        guided = await enter(live(scratch / "two", args.environments_dir))
        context: BrowserContext = await (await enter(chromium())).new_context()
        page, other = await context.new_page(), await context.new_page()
        assert scripted.link, scripted.said
        assert guided.link, guided.said
        await page.goto(scripted.link)
        await other.goto(guided.link)
        await page.bring_to_front()
        app: App = await enter(running("metronome", folders=[HERE], data=alone))
        (alone / "beat.tick").touch()
        await app.kernel.slot().load(alone / "beat.tick")
        watching, guide = Watching(page, scripted), Watching(other, guided)
        await costs(watching, app, args.runs)

        rows = [("to the first token", "ms")]
        code = HERE / "metronome" / "worker.py"
        worker = await enter(engine(python, code, scratch / "beat.tick"))
        texts = ["Speak 100 20"] * (2 * args.runs + 1)
        stamps = models / "beat.stamps"
        label = "an engine that answers at once, "
        for anew, where in ((True, "a new conversation"), (False, "the same conversation")):
            rows += await first_token(label + where, watching, worker, texts, stamps, anew)
        await other.bring_to_front()
        code = ROOT / "extensions" / "llama_cpp" / "worker.py"
        worker = await enter(engine(python, code, ROOT / "models" / "guide" / "guide.gguf"))
        texts = [f"What is a GGUF file? ({n})" for n in range(2 * args.runs + 1)]
        rows += await first_token(
            "the guide, llama.cpp, a new conversation", guide, worker, texts, None, True
        )
        table(rows)
    print(f"At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
