"""What authors of extensions are given for their tests: it behaves as the real server does."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernel.api import Turn, WorkerDied
from kernel.testing import Scripted, leaving_nothing, running

CODE = '''"""For tests."""
from typing import Annotated
from kernel.api import (
    PANELS, ROUTES, Action, Client, Connected, Disconnected, Extension, Meta, Panel, Route,
    Router, Routes, Struct,
)
from starlette.responses import JSONResponse

class Settings(Struct, frozen=True):
    """How much."""
    level: Annotated[int, Meta(ge=1, le=9, description="How much of it.")] = 3

class Greet(Action, frozen=True):
    name: str

async def setup(ext: Extension[Settings]) -> None:
    async def context(client, subject):
        return {"level": ext.settings.level, "subject": subject}

    async def echo(request):
        body = await request.body()
        return JSONResponse([request.method, request.query_params["q"], body.decode()])

    @ext.on(Greet)
    async def greet(action, client: Client):
        ext.tell(f"Hello {action.name}.", client)

    @ext.on(Connected)
    async def connected(event):
        ext.tell("Somebody came.", event.client)

    ext.gone = []
    @ext.on(Disconnected)
    async def disconnected(event):
        ext.gone.append(event.client)

    ext.add(PANELS, Panel("tab", "panel.html", context, title="Paper"))
    route = Route("/ext/paper/echo", echo, methods=["GET", "POST"])
    ext.add(ROUTES, Routes(Router([route]), "page"))
    ext.start = lambda: ext.worker("worker.py:Engine")
'''
WORKER = '''"""A child."""
from kernel.contract import ModelInfo

class Engine:
    concurrent = ()

    def load(self, path, options, report):
        return ModelInfo("child")

    def poll(self, timeout):
        return ()

    def call(self, name, report, cancelled, **data):
        import sys
        return sys.executable
'''


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """An extension in a folder of its own."""
    folder = tmp_path / "paper"
    (folder / "templates").mkdir(parents=True)
    (folder / "__init__.py").write_text(CODE)
    (folder / "worker.py").write_text(WORKER)
    (folder / "templates" / "panel.html").write_text("<p>Level {{ level }} of {{ subject }}</p>")
    (folder / "extension.toml").write_text(
        'id = "paper"\nname = "Paper"\nversion = "1"\nsummary = "Tests."\napi = 1\n'
        '[worker]\nenvironment = "nowhere"\n'
    )
    return folder


async def test_a_page_opens_acts_and_leaves(paper: Path):
    async with running(paper) as app:
        page = await app.open("/paper/17")
        assert "Level 3 of 17" in page.html
        await page.until("Somebody came.")
        await page.act("paper.greet", name="Ada")
        assert "Hello Ada." in page.html
        page.close()
        handle: Any = app.extension("paper")
        await app.until(lambda: handle.gone == [page.client])


async def test_settings_are_given_and_changed_as_a_user_does(paper: Path):
    async with running(paper, settings={"paper": {"level": 7}}) as app:
        assert app.extension("paper").settings.level == 7
        await app.configure("paper", level="5")
        assert app.extension("paper").settings.level == 5
        with pytest.raises(AssertionError, match="from 1 to 9"):
            await app.configure("paper", level=99)
        await app.toggle("paper", on=False)
        with pytest.raises(AssertionError, match="paper is off"):
            app.extension("paper")


async def test_a_route_is_asked_through_the_door(paper: Path):
    async with running(paper) as app:
        for who in ("page", "key"):
            answer = await app.fetch("/ext/paper/echo?q=a%20b", "POST", who=who, body=b"words")
            assert (answer.status, answer.json()) == (200, ["POST", "a b", "words"])
        for who in ("local", "nobody"):
            assert (await app.fetch("/ext/paper/echo?q=1", who=who)).status == 401
        foreign = {"origin": "http://elsewhere.example"}
        assert (await app.fetch("/ext/paper/echo?q=1", headers=foreign)).status == 403
        page = await app.fetch("/paper/3")
        assert "Level 3 of 3" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await app.fetch("/ext/paper/echo?q=", "POST", json=[1])).json()[2] == "[1]"
        assert (await app.fetch("/ext/paper/echo?q=", "POST", form={"a": "b"})).json()[2] == "a=b"


async def test_a_worker_runs_in_an_interpreter_that_is_there(paper: Path):
    async with running(paper, python=Path(sys.executable)) as app:
        handle: Any = app.extension("paper")
        worker = await handle.start()
        assert await worker.call("where") == sys.executable
        await worker.close()


async def test_a_model_in_a_child_process_says_its_scripts():
    async with running() as app:
        await app.load_in_worker("One. Two.", "Three.")
        assert [await app.say(), await app.say(), await app.say()] == [
            "One. Two.",
            "Three.",
            "One. Two.",
        ]


async def test_a_model_in_a_child_process_stops_and_dies():
    async with running() as app:
        await app.load_in_worker(" ".join(["word"] * 1000), pause=0.005)
        reply = app.run(Turn(prompt="?"))
        async for _ in reply:
            reply.cancel()
        assert reply.finish
        assert reply.finish.reason == "cancelled"
        model = app.kernel.slot().model
        assert model
        generation = model.generate(reply.request)  # type: ignore[arg-type]
        await anext(generation)
        await model.close()
        with pytest.raises(WorkerDied):
            _ = [delta async for delta in generation]


async def test_a_scripted_model_tells_its_probabilities_and_keeps_to_a_limit():
    model = Scripted("One two three.", logprobs=[-0.1, -2.0])
    async with running(model=model) as app:
        deltas = [delta async for delta in app.run(Turn(prompt="?"))]
        assert [delta.tokens[0].logprob for delta in deltas] == [-0.1, -2.0, -0.1]


async def test_an_extension_that_does_not_run_fails_the_test(paper: Path):
    (paper / "__init__.py").write_text("async def setup(ext): raise RuntimeError('no')")
    with pytest.raises(AssertionError, match="paper is failed: RuntimeError: no"):
        async with running(paper):
            pass


def leave_task() -> Callable[[], object]:
    return asyncio.create_task(asyncio.sleep(9)).cancel


def leave_socket() -> Callable[[], object]:
    return socket.socket().close


def leave_process() -> Callable[[], object]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, stderr=-3).communicate


def leave_thread() -> Callable[[], object]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    return lambda: (over.set(), thread.join())


LEAVE = {
    "Task": leave_task,
    "socket": leave_socket,
    "process": leave_process,
    "Thread": leave_thread,
}


@pytest.mark.parametrize("kind", LEAVE)
async def test_what_a_block_leaves_is_named(kind: str):
    ends: list[Callable[[], object]] = []
    with pytest.raises(AssertionError, match=kind):
        async with leaving_nothing(patience=0):
            ends.append(LEAVE[kind]())
    for end in ends:
        end()
