"""C1 to C3: whoever leaves or stops, in whatever phase, stops their own reply and no other."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from kernel.testing import running
from tests.phases import InWorker, offer
from tests.sockets import Raw, Served, serving, tell, until

LOOK = 0.005
"""Seconds between two looks at the engine."""
LATEST = int((0.2 + 3 * 0.02) / LOOK)
"""Looks until the engine must be free of a reply: 200 ms or a step, and our own looking.

A look goes through the server's loop and the engine's process, so that it takes as much longer as
all else where the machine is busy.
"""


def asking(name: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": name}]


# --- each kind of client: how it asks, and how it leaves ---------------------------------------


class ByPage:
    """A page, with chat.send and chat.stop."""

    async def ask(self, served: Served, name: str) -> None:
        headers = {"Authorization": f"Bearer {served.key}"}
        address = served.ws.replace("/api/ws", "/ws?path=/chat")
        self.page = await connect(
            address, additional_headers=headers, proxy=None, max_queue=None, compression=None
        )
        await tell(self.page, action="chat.send", conversation="", text=name)
        pattern, html = r'id="page-go" hidden data-path="/chat/([^"]+)"', ""
        while not (found := re.search(pattern, html)):
            html += str(await self.page.recv())
        self.conversation = found.group(1)

    async def leave(self) -> None:
        await tell(self.page, action="chat.stop", conversation=self.conversation)

    async def close(self) -> None:
        await self.page.close()


class BySocket:
    """A program's WebSocket whose reply ends with it."""

    program: ClientConnection

    async def ask(self, served: Served, name: str) -> None:
        self.program = await served.connect()
        await tell(self.program, type="start", id=name, linger=0, messages=asking(name))
        await until(self.program, "started")

    async def leave(self) -> None:
        self.program.transport.abort()

    async def close(self) -> None:
        await self.program.close()


class ByFrame(BySocket):
    """A program's WebSocket, and its frame `cancel`."""

    async def ask(self, served: Served, name: str) -> None:
        self.name = name
        await super().ask(served, name)

    async def leave(self) -> None:
        await tell(self.program, type="cancel", stream=self.name)


class ByRequest:
    """One request, whose answer comes at the end."""

    stream = False

    async def ask(self, served: Served, name: str) -> None:
        self.raw = Raw(served.port)
        await self.raw.post("/api/reply", {"messages": asking(name), "stream": self.stream})

    async def leave(self) -> None:
        await self.raw.close()

    async def close(self) -> None:
        await self.raw.close()


class ByLines(ByRequest):
    """One request, answered line by line."""

    stream = True


class ByReset(ByLines):
    """The same, by a program that is killed."""

    async def leave(self) -> None:
        self.raw.abort()


KINDS: list[type[Any]] = [ByPage, BySocket, ByFrame, ByRequest, ByLines, ByReset]


# --- the engine, seen from the side -------------------------------------------------------------


class Watched:
    """The server, and what its engine is at."""

    def __init__(self, served: Served, loader: InWorker) -> None:
        self.served, self.loader = served, loader
        self.slot = served.app.kernel.slot()
        self.loading: asyncio.Task[None]

    async def state(self) -> dict[str, Any]:
        model: Any = self.slot.model
        return await model.call("state")

    async def until(self, true: Callable[[dict[str, Any]], bool], seconds: float = 20) -> int:
        """Looks until it was so."""
        loop = asyncio.get_running_loop()
        begun, looks = loop.time(), 0
        while not true(await self.state()):
            assert loop.time() - begun < seconds, await self.state()
            await asyncio.sleep(LOOK)
            looks += 1
        return looks


@asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[Watched]:
    async with (
        running("websocket_api", "conversations", "chat") as app,
        serving(app) as served,
    ):
        app.extension("api_kit").configure({"at_once": 100})
        watched = Watched(served, offer(app, InWorker()))
        watched.loading = asyncio.create_task(watched.slot.load(Path("m"), "phases", options))
        if not {"loading", "gate"} & options.keys():
            await watched.loading
        else:
            await app.until(lambda: watched.slot.state.note == "Half way")
        yield watched
        await watched.loading


def involved(state: dict[str, Any], name: str) -> bool:
    return name in state["queued"] or name in state["reading"] or name in state["writing"]


PHASES = {
    "queued": {"slots": 1}, "reading": {"slots": 2, "reading": 1000}, "writing": {"slots": 2},
}  # fmt: skip
FIRST = (BySocket, ByRequest)
"""Who leaves in every phase; the others in the default run only while it is written."""


@pytest.mark.parametrize(
    ("kind", "phase", "options"),
    [
        pytest.param(
            *(kind, phase, options),
            marks=[pytest.mark.long] * (phase != "writing" and kind not in FIRST),
        )
        for kind in KINDS
        for phase, options in PHASES.items()
    ],
)
async def test_c1_c2_who_leaves_stops_their_own_reply(
    kind: type[Any], phase: str, options: dict[str, Any]
):
    async with watched(**options) as it:
        bystander, victim = BySocket(), kind()
        await bystander.ask(it.served, "bystander")
        if phase == "reading":
            await it.until(lambda state: "bystander" in state["reading"])
        else:
            await it.until(lambda state: "bystander" in state["writing"])
        await victim.ask(it.served, "victim")
        await it.until(lambda state: "victim" in state[phase])
        await victim.leave()
        assert await it.until(lambda state: not involved(state, "victim")) < LATEST
        state = await it.state()
        assert involved(state, "bystander"), "and no other"
        if phase != "reading":
            said = state["writing"]["bystander"]
            await it.until(lambda state: state["writing"]["bystander"] > said)
        await bystander.leave()
        assert await it.until(lambda state: not involved(state, "bystander")) < LATEST
        model: Any = it.slot.model
        assert not model.worker._replies, "nothing is kept of them"
        await victim.close()
        await bystander.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_c3_who_leaves_while_a_model_loads_leaves_the_load_alone(
    kind: type[Any], tmp_path: Path
):
    gate = tmp_path / "loaded"
    async with watched(gate=str(gate)) as it:
        stays, victim = ByFrame(), kind()
        await stays.ask(it.served, "stays")
        await victim.ask(it.served, "victim")
        await asyncio.sleep(0.05)
        assert it.slot.state.state == "loading"
        await victim.leave()
        await asyncio.sleep(0.05)
        assert it.slot.state.state == "loading", "it goes on"
        gate.touch()
        await it.loading
        await it.until(lambda state: "stays" in state["writing"])
        assert (await it.state())["seen"] == ["stays"], "the other's was never asked"
        assert len(it.loader.workers) == 1
        await stays.leave()
        await until(stays.program, "done")
        await victim.close()
        await stays.close()


async def test_c1_closing_a_tab_stops_nothing():
    async with watched() as it:
        tab = ByPage()
        await tab.ask(it.served, "asked")
        await it.until(lambda state: "asked" in state["writing"])
        tab.page.transport.abort()
        await it.served.app.until(lambda: not it.served.app.kernel.hub.clients)
        said = (await it.state())["writing"]["asked"]
        await it.until(lambda state: state["writing"]["asked"] > said + 10)
        again = ByPage()
        again.conversation = tab.conversation
        headers = {"Authorization": f"Bearer {it.served.key}"}
        address = it.served.ws.replace("/api/ws", f"/ws?path=/chat/{tab.conversation}")
        again.page = await connect(address, additional_headers=headers, proxy=None, max_queue=None)
        html = ""
        while not re.search(r"\b1 2 3 4 5 6 7 8 9 10\b", html):
            html += str(await again.page.recv())
        await again.leave()
        assert await it.until(lambda state: not involved(state, "asked")) < LATEST
        await again.close()


async def test_a_reply_that_lingers_goes_on_and_ends_in_time():
    async with watched() as it:
        program = await it.served.connect()
        await tell(program, type="start", id="x", linger=1, messages=asking("x"))
        await it.until(lambda state: "x" in state["writing"])
        said = (await it.state())["writing"]["x"]
        program.transport.abort()
        # Five words later it is there: it waits for its program.
        await it.until(lambda state: state["writing"]["x"] > said + 5)
        assert await it.until(lambda state: not involved(state, "x")) < 1 / LOOK + LATEST
        await program.wait_closed()


async def test_a_hundred_that_leave_at_random_leave_nothing():
    """Every phase and every kind at once; the engine is idle after it, and still answers."""
    random.seed(5)
    async with watched(slots=3, reading=5) as it:

        async def one(number: int) -> None:
            client = KINDS[number % len(KINDS)]()
            await asyncio.sleep(random.random())
            await client.ask(it.served, f"n{number}")
            await asyncio.sleep(random.random() / 2)
            await client.leave()
            await client.close()

        await asyncio.gather(*(one(number) for number in range(60)))
        idle = {"queued": [], "reading": [], "writing": {}}
        await it.until(lambda state: {k: state[k] for k in idle} == idle)
        model: Any = it.slot.model
        assert not model.worker._replies
        last = ByFrame()
        await last.ask(it.served, "last")
        await it.until(lambda state: "last" in state["writing"])
        await last.leave()
        assert (await until(last.program, "done"))[-1]["reason"] == "cancelled"
        assert not it.served.app.kernel.trouble, "who leaves is no failure of an extension"
        await last.close()
