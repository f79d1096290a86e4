"""S1 to S4: readers that are slow, vanish, sit behind a bad wire, or come by the thousand."""

import asyncio
import gc
import hashlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Self

import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from kernel.api import GENERATE, Delta, Draft, Everyone, Phase
from kernel.outbox import Outbox
from kernel.testing import App, Scripted, running
from tests.proxy import faulty
from tests.sockets import Served, hear, said, serving, tell, until

ASK: dict[str, Any] = {"prompt": "x"}


def figures(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """What was measured, also when the test passes."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


def answers(app: App, pause: float, words: int, flood: float = 0) -> None:
    """Prompts are answered with numbers at a pace; "flood" with 16 KB every `flood` seconds."""

    async def speak(draft: Draft) -> AsyncIterator[Delta]:
        flooding = draft.request.prompt == "flood"

        async def deltas() -> AsyncIterator[Delta]:
            for number in range(words):
                await asyncio.sleep(flood if flooding else pause)
                yield Delta("x" * 16_384 if flooding else f"{number} ")

        return deltas()

    add = app.kernel.registry.add
    add(GENERATE, speak, "test", phase=Phase.NORMAL, rank=0, rewrites=False)


# --- S1 -----------------------------------------------------------------------------------------


class Beats:
    """Counts the hundredths of a second in which this loop had its turn.

    Where a machine is too busy to let us run nobody counts either, so that what is measured in
    beats is what readers cost each other. A loop that is itself busy shows in its own time of the
    processor.
    """

    count = 0

    async def __aenter__(self) -> Self:
        self.busy = list[float]()
        """The processor's seconds of each."""
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beating.cancel()
        await asyncio.wait({self._beating})

    async def _beat(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.01)
            self.count += 1
            self.busy.append(time.thread_time() - before)


async def slow_reader(served: Served, number: int) -> None:
    """Asks for a flood and takes one byte a second, with little room on its side, for ever."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    wire.setblocking(False)
    await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", served.port))
    program = await served.connect(sock=wire)
    try:
        await tell(program, type="start", id=f"flood{number}", linger=0, prompt="flood")
        program.transport.pause_reading()
        while True:
            await asyncio.sleep(1)
            with suppress(OSError):
                wire.recv(1)
    finally:
        program.transport.abort()


async def gaps(served: Served, id: str, count: int, beats: Beats) -> list[int]:
    """The beats between two words of a program that reads as they come."""
    times = list[int]()
    async with served.connect() as program:
        await tell(program, type="start", id=id, **ASK)
        while len(times) < count:
            if (await hear(program, 20))["type"] == "delta":
                times.append(beats.count)
        await tell(program, type="cancel", stream=id)
    return [b - a for a, b in pairwise(times)]


def p99(times: Sequence[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


@pytest.mark.parametrize(
    "readers", [50, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
async def test_s1_slow_readers_slow_nobody_else(
    readers: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    async with running("websocket_api") as app, serving(app) as served, Beats() as beats:
        app.extension("websocket_api").configure({"at_once": 10_000})
        app.extension("api_kit").configure({"at_once": 1000})
        monkeypatch.setattr(sys.modules["extensions.websocket_api.connection"], "STALL", 2.0)
        answers(app, 0.02, 10_000, flood=readers / 500)
        alone = await gaps(served, "alone", words := 150 if readers > 50 else 60, beats)
        before = psutil.Process().memory_info().rss
        slow = [asyncio.create_task(slow_reader(served, number)) for number in range(readers)]
        try:
            replies = app.extension("websocket_api")._tasks
            connected = served.server.server_state.connections
            await app.until(lambda: len(connected) >= readers, 60)
            beats.busy.clear()
            # For so long that what readers do not take has filled all that was between.
            crowded = await gaps(served, "crowded", 3 * words, beats)
            busy = p99(beats.busy)
            grown = psutil.Process().memory_info().rss - before
            await app.until(lambda: "flood" not in str(replies), 60)
        finally:
            for reader in slow:
                reader.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
        figures(
            capsys,
            f"S1: {readers} readers, gaps of {max(alone)} beats alone, "
            f"{max(crowded)} among them, the loop busy for {busy * 1e3:.1f} ms a beat, "
            f"memory +{grown / 1e6:.0f} MB; all let go",
        )
        assert grown < 40e6 + readers * 2e6
        assert max(crowded) < max(5 * max(alone), 25)
        assert busy < 0.1, "readers, programs and server share one loop here"


async def slow_page(served: Served) -> None:
    """A page that takes one byte a second."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    wire.setblocking(False)
    await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", served.port))
    page = await served.page("/settings", sock=wire)
    try:
        page.transport.pause_reading()
        while True:
            await asyncio.sleep(1)
            with suppress(OSError):
                wire.recv(1)
    finally:
        page.transport.abort()


async def lateness(served: Served, seconds: float, beats: Beats) -> list[int]:
    """How many beats late what is pushed to all pages reaches one that reads as it comes."""
    late: list[int] = []
    async with served.page("/settings") as page:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    text = await page.recv()
                    if found := re.search(r'data-at="(\d+)"', str(text)):
                        late.append(beats.count - int(found[1]))
    return late


@pytest.mark.parametrize(
    "pages", [30, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
async def test_s1_slow_pages_slow_nobody_else(
    pages: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    defaults: Any = Outbox.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "stall", 2.0)
    async with running("settings") as app, serving(app) as served, Beats() as beats:
        hub = app.kernel.hub

        async def talk() -> None:
            while True:
                hub.push("kernel", f'<i data-at="{beats.count}">{"x" * 16_384}</i>', Everyone())
                await asyncio.sleep(1 / 30)

        talking = asyncio.create_task(talk())
        slow: list[asyncio.Task[None]] = []
        try:
            alone = await lateness(served, 3 if pages > 30 else 1, beats)
            before = psutil.Process().memory_info().rss
            slow += [asyncio.create_task(slow_page(served)) for _ in range(pages)]
            await app.until(lambda: len(hub.clients) >= pages, 150)
            beats.busy.clear()
            crowded = await lateness(served, 5, beats)
            busy = p99(beats.busy)
            grown = psutil.Process().memory_info().rss - before
            await app.until(lambda: len(hub.clients) <= pages // 10, 90)  # the silent are let go
        finally:
            for task in (talking, *slow):
                task.cancel()
            await asyncio.gather(talking, *slow, return_exceptions=True)
        figures(
            capsys,
            f"S1: {pages} slow pages, {max(alone)} beats late alone, "
            f"{max(crowded)} among them, the loop busy for {busy * 1e3:.1f} ms a beat, "
            f"memory +{grown / 1e6:.0f} MB; let go",
        )
        assert grown < 40e6 + pages * 2e6
        assert max(crowded) < max(5 * max(alone), 25)
        assert busy < 0.1


# --- S2 -----------------------------------------------------------------------------------------


async def test_s2_who_answers_no_ping_is_let_go():
    """Short times here; that the real ones are thirty seconds at most is asked of the settings."""
    async with (
        running("websocket_api") as app,
        serving(app, ws_ping_interval=0.2, ws_ping_timeout=0.3) as served,
    ):
        answers(app, 0.01, 100_000)
        program = await served.connect()
        await tell(program, type="start", id="a", linger=0, **ASK)
        program.transport.pause_reading()
        reply = "websocket_api:reply a"
        handle = app.extension("websocket_api")
        await app.until(lambda: any(t.get_name() == reply for t in handle._tasks))
        begun = time.monotonic()
        await app.until(lambda: not any(t.get_name() == reply for t in handle._tasks), 10)
        assert time.monotonic() - begun < 3
        program.transport.abort()


async def test_s2_a_page_that_answers_no_ping_is_let_go():
    async with (
        running("settings") as app,
        serving(app, ws_ping_interval=0.2, ws_ping_timeout=0.3) as served,
    ):
        page = await served.page("/settings")
        await app.until(lambda: len(app.kernel.hub.clients) == 1)
        page.transport.pause_reading()
        begun = time.monotonic()
        await app.until(lambda: not app.kernel.hub.clients, 10)
        assert time.monotonic() - begun < 3
        page.transport.abort()


async def test_s2_the_real_times_are_thirty_seconds_together():
    async with running() as app, serving(app) as served:
        config = served.server.config
        assert config.ws_ping_interval + config.ws_ping_timeout <= 30
        listener = served.server.servers[0].sockets[0]
        if sys.platform == "linux":
            get = listener.getsockopt
            assert get(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert get(socket.IPPROTO_TCP, socket.TCP_NODELAY), (
                "a word waits for no acknowledgement"
            )
            quiet = get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert quiet + get(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000 <= 30


VANISHING = """
import socket, sys, time, json
host, port = sys.argv[1], int(sys.argv[2])
body = json.dumps({"prompt": "x", "id": "vanishing"}).encode()
wire = socket.create_connection((host, port))
wire.sendall(b"POST /api/reply HTTP/1.1\\r\\nHost: %s:%d\\r\\nAuthorization: Bearer %s\\r\\n"
             b"Content-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
             % (host.encode(), port, sys.argv[3].encode(), len(body), body))
print("sent", flush=True)
time.sleep(600)
"""


def command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def far_away():
    """A network namespace whose cable can be pulled; only where this may be made."""
    name, ours, theirs = "spindle-far", "spindle-near0", "spindle-far0"
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("needs a network namespace, so root on Linux")
    try:
        command("ip", "netns", "add", name)
        command("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        command("ip", "addr", "add", "10.213.7.1/30", "dev", ours)
        command("ip", "link", "set", ours, "up")
        command("ip", "-n", name, "addr", "add", "10.213.7.2/30", "dev", theirs)
        command("ip", "-n", name, "link", "set", theirs, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        pytest.skip(f"no network namespace can be made here: {error}")
    yield name, theirs
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_s2_a_pulled_cable_frees_the_engine_within_thirty_seconds(
    far_away: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    """No FIN, no RST: the program is simply gone, and it waits for an answer in one piece."""
    name, theirs = far_away
    async with running("websocket_api") as app, serving(app, listen="10.213.7.1") as served:
        answers(app, 0.05, 100_000)
        program = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", name, sys.executable, "-c", VANISHING,
            "10.213.7.1", str(served.port), served.key, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert program.stdout
        assert await program.stdout.readline() == b"sent\n"
        handle, reply = app.extension("websocket_api"), "websocket_api:reply vanishing"
        await app.until(lambda: any(t.get_name() == reply for t in handle._tasks))
        await asyncio.to_thread(command, "ip", "-n", name, "link", "set", theirs, "down")
        begun = time.monotonic()
        await app.until(lambda: not any(t.get_name() == reply for t in handle._tasks), 60)
        took = time.monotonic() - begun
        figures(capsys, f"S2: a pulled cable was noticed after {took:.1f} s")
        assert took < 31
        program.kill()
        await program.wait()


# --- S3 -----------------------------------------------------------------------------------------

COUNT = "".join(f"{number} " for number in range(200))


async def follow(
    served: Served, port: int, id: str, patience: float = 1.0
) -> tuple[list[dict[str, Any]], int]:
    """What a sound client does: go on; and when nothing comes or all is lost, resume."""
    events, connections = list[dict[str, Any]](), 0
    frame: dict[str, Any] = {"type": "start", "id": id, **ASK}
    while not events or events[-1]["type"] != "done":
        connections += 1
        try:
            async with asyncio.timeout(5):
                program = await served.connect(host="127.0.0.1", port=port)
            try:
                await tell(program, **frame)
                while not events or events[-1]["type"] != "done":
                    event = await hear(program, patience)
                    if event["type"] == "error" and event["seq"] == 0:
                        frame = {"type": "start", "id": id, **ASK}
                        if event["error"]["code"] == "stream_exists":  # No event of it came.
                            frame = {"type": "resume", "stream": id, "last_seq": 0}
                        break
                    events.append(event)
            finally:
                program.transport.abort()
        except (ConnectionClosed, InvalidHandshake, TimeoutError, OSError):
            pass
        if events:
            frame = {"type": "resume", "stream": id, "last_seq": events[-1]["seq"]}
    return events, connections


@pytest.mark.parametrize("fault", ["none", "cut", "stall", "half-close", "gather", "idle", "drip"])
async def test_s3_a_bad_wire_costs_a_program_no_word(fault: str):
    async with running("websocket_api") as app, serving(app) as served:
        answers(app, 0.01, 200)
        async with faulty(served.port) as proxy:
            following = asyncio.create_task(follow(served, proxy.port, "a", 4.0))
            if fault == "gather":
                proxy.gather = 4096
            for _ in range(4):
                await asyncio.sleep(0.3)
                match fault:
                    case "cut":
                        proxy.cut()
                    case "half-close":
                        proxy.half_close()
                    case "stall":
                        proxy.flows.clear()
                        await asyncio.sleep(0.3)
                        proxy.flows.set()
                        proxy.cut()
                    case "drip":
                        proxy.drip = 1
                        await asyncio.sleep(0.3)
                        proxy.drip = 0
                        proxy.cut()
                    case _:
                        pass
            events, connections = await asyncio.wait_for(following, 60)
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    assert hashlib.sha256(said(events).encode()).digest() == hashlib.sha256(COUNT.encode()).digest()
    assert (connections > 1) == (fault in ("cut", "stall", "half-close", "drip")), connections


async def test_s3_an_idle_socket_is_kept_alive_by_its_pings():
    """A proxy that cuts what is idle for a second, and pings every half: as 60 and 10 are."""
    gate = asyncio.Semaphore(0)
    async with (
        running("websocket_api", model=Scripted("One two.", gate=gate)) as app,
        serving(app, ws_ping_interval=0.3) as served,
        faulty(served.port) as proxy,
    ):
        proxy.idle = 1.0
        following = asyncio.create_task(follow(served, proxy.port, "a", patience=20))
        await asyncio.sleep(3)
        for _ in range(9):
            gate.release()
        events, connections = await asyncio.wait_for(following, 10)
        assert said(events) == "One two."
        assert connections == 1


# --- S4 -----------------------------------------------------------------------------------------


def things(app: App) -> dict[str, int]:
    me = psutil.Process()
    tasks = len(asyncio.all_tasks())
    return {"files": me.num_fds(), "tasks": tasks, "pages": len(app.kernel.hub.clients)}


def more(now: dict[str, int], before: dict[str, int]) -> list[str]:
    """What there is more of than before; two may be on their way out at any moment."""
    return [name for name in before if now[name] > before[name] + 2]


STORM = """
import socket, sys, time
port, rate, seconds, key = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
paths, made, began = ("/api/ws", "/ws?path=/"), 0, time.monotonic()
while (now := time.monotonic() - began) < seconds:
    if made > now * rate:
        time.sleep(0.001)
        continue
    made += 1
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall("\\r\\n".join((
            f"GET {paths[made % 2]} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Authorization: Bearer {key}", "", ""
        )).encode())
        assert wire.recv(4096).startswith(b"HTTP/1.1 101")
        if made % 3 == 0:
            wire.sendall(b"\\x88\\x80\\0\\0\\0\\0")  # a polite close
        elif made % 3 == 1:  # a reset
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
print(made, flush=True)
"""


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [(300, 2.0), pytest.param(1000, 600.0, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
async def test_s4_storms_of_connections_leave_nothing(
    rate: int, seconds: float, capsys: pytest.CaptureFixture[str]
):
    async with running("websocket_api", "conversations", "chat") as app, serving(app) as served:
        for _ in range(50):
            async with served.connect():
                pass
        await asyncio.sleep(0.2)
        gc.collect()
        before, memory = things(app), psutil.Process().memory_info().rss
        storm = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STORM, str(served.port), str(rate), str(seconds), served.key,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await storm.communicate()
        made = int(said)
        settled = time.monotonic() + 15
        while more(now := things(app), before) and time.monotonic() < settled:
            await asyncio.sleep(0.1)
        gc.collect()
        grown = psutil.Process().memory_info().rss - memory
        figures(
            capsys,
            f"S4: {made} connections in {seconds:.0f} s, memory +{grown / 1e6:.1f} MB, "
            f"{before} before, {now} after",
        )
        assert not more(now, before)
        assert grown < 20e6
        async with served.connect() as program:
            answers(app, 0, 3)
            await tell(program, type="start", id="after", **ASK)
            assert (await until(program, "done"))[-1]["reason"] == "stop"
