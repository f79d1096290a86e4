"""The zoo: a tiny module for every point, with a hole in which something bad is done."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from msgspec import UNSET

from extensions.settings.cards import card
from kernel.api import LoadFailed, Message, SectionChanged, Text, Turn
from kernel.testing import App, Scripted

WORDS = "One two three."
ALWAYS: Mapping[str, str] = {
    "raises": "raise ZeroDivisionError('on purpose')",
    "raises what cannot be printed": "raise Unprintable()",
    "raises half a character": "raise ValueError('\\ud800')",
    "raises 100 MB": "raise ValueError('x' * 100_000_000)",
    "hangs": "await asyncio.sleep(600)",
    "hangs and ignores its cancelling": "await stubborn()",
    "cancels itself": "raise asyncio.CancelledError",
    "cancels its task": "asyncio.current_task().cancel(); await asyncio.sleep(0)",
    "exits": "sys.exit(3)",
    "blocks the loop": "time.sleep(0.25)",
}
"""What can be done anywhere; what a function can answer wrongly is said at each point."""

HEAD = """
import asyncio, sys, time
from pathlib import Path
from kernel.api import *

HERE = Path(__file__).parent
def calm(): return (HERE / "calm").exists()

class Unprintable(Exception):
    def __str__(self): raise RuntimeError("not even that")

async def stubborn():
    for _ in range(3):
        try: await asyncio.sleep(0.25)
        except asyncio.CancelledError: pass

async def bad():
    {bad}
"""


@dataclass(frozen=True)
class Place:
    """A point, code that contributes to it, and how it is brought to act."""

    code: str
    act: Callable[[App], Awaitable[None]]
    """Brings it to act once, and checks what everybody else sees of that."""
    called: str
    """How its card names the point."""
    lies: Mapping[str, str] = field(default_factory=dict[str, str])
    """Wrong answers, as statements."""
    unlike: Mapping[str, str] = field(default_factory=dict[str, str])
    """Behaviours that are no failure here, with the reason."""


def module(place: Place, statement: str) -> str:
    """The extension: a misbehaving module until a file named `calm` lies beside it."""
    lying = statement.startswith(("return ", "yield "))
    head = HEAD.replace("{bad}", "pass" if lying else statement)
    lie = f"if not calm(): {statement}" if lying else "if not calm(): await bad()"
    return head + place.code.replace("{bad}", lie)


# --- what acting means ---------------------------------------------------------------------


def asked(words: str = "Hi") -> Turn:
    return Turn(messages=(Message("user", (Text(words),)),), mode="plain")


def model_of(app: App) -> Scripted:
    model = app.kernel.slot().model
    assert isinstance(model, Scripted)
    return model


async def reply(app: App) -> None:
    """A whole turn: its words and what the model was asked are as if nobody else was there."""
    one = app.run(asked())
    said = "".join([delta.onto("") async for delta in one])
    assert one.text == WORDS, said
    assert one.finish
    assert (one.finish.reason, one.finish.error) == ("stop", "")
    request = model_of(app).asked[-1]
    assert request.messages == asked().messages
    assert request.sampling.temperature is UNSET


async def shown(app: App) -> None:
    """A reply as a page shows it."""
    ext = app.kernel.records["good"].handle
    assert ext
    one, text = app.run(asked()), ""
    async for delta in ext.display(aiter(one), one.turn):
        text = delta.onto(text)
    assert text == one.text == WORDS


async def mode(app: App) -> None:
    """A turn in the bad mode ends with a sentence that names it; the others go on."""
    one = app.run(Turn(messages=asked().messages, mode="bad_mode"))
    _ = [delta async for delta in one]
    assert one.finish
    if "is not running" not in one.finish.error and one.finish.reason == "error":
        assert one.finish.error.startswith("Bad failed at this turn: ")
        assert one.finish.error.endswith("Its card in Settings says more.")
    await reply(app)


async def half(app: App) -> None:
    """It has begun to answer in the engine's place: what it said stays, and the end names it."""
    one = app.run(asked())
    _ = [delta async for delta in one]
    assert one.finish
    if one.finish.reason == "error":
        assert one.text == "Half"
        assert one.finish.error.startswith("Bad failed while it answered: ")


async def load(app: App) -> None:
    """Another loader takes the file."""
    await app.kernel.slot().load(Path("some.file"))
    await reply(app)


async def load_bad(app: App) -> None:
    """The bad loader's file does not load, and says why; the next one does."""
    with suppress(LoadFailed):
        await app.kernel.slot().load(Path("some.file"), "bad")
    error = app.kernel.slot().state.error
    assert not error or error.startswith("some.file did not load. ")
    await asyncio.sleep(0.02)
    await app.settled()  # Who is being set aside takes the model of its loader along.
    await app.kernel.slot().load(Path("some.file"), "scripted")
    await reply(app)


async def draw(app: App) -> None:
    """A page asks for all it shows, in time; what others show is there."""
    page = app.page("/settings")
    try:
        async with asyncio.timeout(3):
            await app.web.snapshot(page.client)
        await page.until("good is well")
    finally:
        app.kernel.hub.clients.discard(page.client)


def web(app: App) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.web), base_url="http://test")


async def get(app: App) -> None:
    """A request gets an answer, or a sentence with the status 500; others are answered."""
    async with web(app) as client:
        answer = await client.get("/ext/bad/page")
        assert answer.status_code in (200, 404, 500)
        if answer.status_code == 500:
            assert answer.text == "Bad failed at this. Its card in Settings says more."
        assert (await client.get("/ext/good/page")).text == "well"


async def connect(app: App) -> None:
    """A WebSocket is refused or ended, and nothing is raised to the server."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ext/bad/page", "headers": [], "query_string": b""}
    await app.web(scope, receive, send)
    assert sent[-1]["type"] == "websocket.close"


async def act(app: App) -> None:
    """A button is pressed, and the page hears of a failure; the buttons of others work."""
    page = app.page()
    await page.act("bad.press")
    if "action" in "".join(app.kernel.trouble.get("bad", ())):
        await page.until("Bad (failed: .*Its card in Settings says more|does not run)")
    await page.act("good.press")
    await page.until("pressed well")
    app.kernel.hub.clients.discard(page.client)


async def emit(app: App) -> None:
    app.kernel.bus.emit(SectionChanged("nothing"))
    await heard(app, "good")
    await heard(app, "bad")


async def heard(app: App, id: str) -> None:
    """Wait until a listener has heard of it."""
    ext: Any = app.kernel.records[id].handle
    if ext:
        await app.until(lambda: ext.heard or ext.why)
        ext.heard = 0
        await asyncio.sleep(0)


async def go(app: App) -> None:
    """Begin background work, and wait until it has ended."""
    ext: Any = app.kernel.records["bad"].handle
    if not ext:
        return
    task = sys.modules["extensions.bad"].go(ext)
    await asyncio.wait({task}, timeout=3)
    await asyncio.sleep(0.01)
    await reply(app)


# --- the points ------------------------------------------------------------------------------

NO_LIMIT = "it has no time limit: it ends by itself, by a cancel button or with its extension"
HANGS = ("hangs", "hangs and ignores its cancelling")
UNLIMITED = {
    **dict.fromkeys(HANGS, NO_LIMIT),
    "cancels its task": "it is the task of what was asked, and ends as if that was cancelled",
}
HUGE = "'x' * 100_000_000"
TURN = "Turn(messages=(Message('user', (Text({}),)),), mode='plain')"


def changing(point: str, wrong: Mapping[str, str]) -> str:
    return f"""
async def setup(ext):
    @ext.on({point})
    async def change(value):
        {{bad}}
        return value
"""


def lies(make: str) -> dict[str, str]:
    """What a modifier that answers a struct can answer instead."""
    return {
        "answers another type": "return 5",
        "answers nothing": "return None",
        "answers 100 MB": f"return {make.format(HUGE)}",
        "answers half a character": f"return {make.format(repr(chr(0xD800)))}",
        "answers another type inside": f"return {make.format('7')}",
    }


STREAM = """
async def setup(ext):
    @ext.on({point})
    async def change(deltas, turn):
        first = True
        async for delta in deltas:
            yield delta
            if first:
                first = False
                {bad}
"""
STREAM_LIES = {
    "says another type": "yield 'five'",
    "says a delta of another type": "yield Delta(5)",
    "says a delta of bytes": "yield Delta(b'five')",
    "says it of a choice that is none": "yield Delta('x', choice='y')",
    "marks with what is no mark": "yield Delta('x', marks=(5,))",
    "says 100 MB": f"yield Delta({HUGE})",
    "says half a character": "yield Delta('\\ud800')",
    "replaces without having said so": "yield Delta('x', replace=True)",
    "ends early": "return ",
}
PANEL = """
async def setup(ext):
    async def context(client, subject):
        {bad}
        return {"text": "fine"}
    ext.add(PANELS, Panel("status", "it.html", context))
"""
ROUTE = """
from starlette.responses import PlainTextResponse
async def setup(ext):
    async def app(scope, receive, send):
        {bad}
        if scope["type"] == "http":
            await PlainTextResponse("fine")(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})
    ext.add(ROUTES, Routes(app, 'page'))
"""
GENERATES = """
async def setup(ext):
    @ext.on(GENERATE)
    async def answer(draft):
        if calm(): return None
        return words()
async def words():
    {first}
    if not calm(): await bad()
    for _ in (): yield
"""
WORK = """
def go(ext):
    async def work(*_):
        {bad}
    return {begin}
async def setup(ext): pass
"""

POINTS: Mapping[str, Place] = {
    "INPUT": Place(changing("INPUT", {}), reply, "input", lies(TURN)),
    "HISTORY": Place(
        changing("HISTORY", {}), reply, "history", lies(f"Past(({{}},), {TURN.format('1')})")
    ),
    "REQUEST": Place(
        changing("REQUEST", {}), reply, "request", lies("Draft(Request(prompt={}), value.turn)")
    ),
    "GENERATE": Place(
        changing("GENERATE", {}).replace("return value", "return None"),
        reply,
        "generate",
        {"answers another type": "return 5"},
    ),
    "GENERATE, before a word": Place(GENERATES.replace("{first}", ""), reply, "generate"),
    "GENERATE, after a word": Place(
        GENERATES.replace("{first}", "yield Delta('Half')"), half, "generate"
    ),
    "OUTPUT": Place(STREAM.replace("{point}", "OUTPUT"), reply, "output", STREAM_LIES),
    "DISPLAY": Place(STREAM.replace("{point}", "DISPLAY"), shown, "display", STREAM_LIES),
    "MODES": Place(
        """
class Mode:
    id, label = "bad_mode", "Bad mode"
    async def request(self, turn, history):
        {bad}
        return Request(turn.slot, messages=turn.messages)
async def setup(ext): ext.add(MODES, Mode())
""",
        mode,
        "mode bad_mode",
        lies("Request(prompt={})"),
    ),
    "LOADERS, accepts": Place(
        """
class Loader:
    id = label = "bad"
    Options = Struct
    def accepts(self, path):
        if not calm(): now()
        return False
    async def open(self, path, options, report): raise LookupError
def now():
    coroutine = bad()
    try: coroutine.send(None)
    except StopIteration: pass
    finally: coroutine.close()
async def setup(ext): ext.add(LOADERS, Loader(), phase=Phase.EARLY)
""",
        load,
        "loader bad",
        unlike={
            **dict.fromkeys(HANGS, "accepts is no coroutine: it can only block"),
            "cancels its task": "the load is cancelled, as if by a click",
        },
    ),
    "LOADERS, open": Place(
        """
from kernel.testing import Scripted
class Loader:
    id = label = "bad"
    Options = Struct
    def accepts(self, path): return False
    async def open(self, path, options, report):
        {bad}
        return Scripted("One two three.")
async def setup(ext): ext.add(LOADERS, Loader())
""",
        load_bad,
        "loader",
        {"answers another type": "return 5", "answers nothing": "return None"},
        UNLIMITED,
    ),
    "PANELS": Place(
        PANEL,
        draw,
        "panel it.html",
        {"answers another type": "return 5", "answers 100 MB": f"return {{'text': {HUGE}}}"},
    ),
    "ROUTES": Place(
        ROUTE,
        get,
        "route /ext/bad/page",
        {
            "answers nothing": "return ",
            "answers nonsense": "return await send({'type': 'nonsense'})",
        },
        UNLIMITED,
    ),
    "ROUTES, a WebSocket": Place(ROUTE, connect, "route /ext/bad/page", {}, UNLIMITED),
    "an action": Place(
        """
class Press(Action, frozen=True): pass
async def setup(ext):
    @ext.on(Press)
    async def press(action, client):
        {bad}
""",
        act,
        "action bad.press",
        {},
        UNLIMITED,
    ),
    "a listener": Place(
        """
async def setup(ext):
    ext.heard = 0
    @ext.on(SectionChanged)
    async def changed(event):
        ext.heard += 1
        {bad}
""",
        emit,
        "listener SectionChanged",
        {},
    ),
    "a job": Place(
        WORK.replace("{begin}", "ext.job('Sorting', work).task"), go, "job Sorting", {}, UNLIMITED
    ),
    "a JobKind": Place(
        WORK.replace("{begin}", "ext.job('Sorting', Sort()).task")
        .replace("    async def work(*_):", "    pass\nclass Sort(JobKind, frozen=True): pass\n"
                 "async def work(*_):")
        .replace("        {bad}\n    return", "    {bad}\ndef go(ext):\n    return")
        .replace("async def setup(ext): pass", "async def setup(ext): ext.on(Sort)(work)"),
        go,
        "job Sorting",
        {},
        UNLIMITED,
    ),
    "spawn": Place(
        WORK.replace("{begin}", "ext.spawn(work(), 'sorting')"), go, "task sorting", {}, UNLIMITED
    ),
}  # fmt: skip
"""Every place where code of an extension is called while it runs. Starting and stopping it are in
test_life.py: there nobody counts to three."""

NO_CODE = {"SAMPLERS": "It is a struct's fields, checked when they are added: see test_life.py."}
"""Points whose contributions are data: nothing of them runs later."""

GOOD = """
from kernel.api import *
from starlette.responses import PlainTextResponse
class Press(Action, frozen=True): pass
class Plain:
    id = label = "plain"
    async def request(self, turn, history):
        return Request(turn.slot, messages=(*history, *turn.messages), sampling=turn.sampling)
async def setup(ext):
    ext.heard = 0
    @ext.on(SectionChanged)
    async def changed(event): ext.heard += 1
    @ext.on(Press)
    async def press(action, client): ext.tell("pressed well", client)
    ext.add(MODES, Plain())
    ext.add(PANELS, Panel("status", "it.html"))
    async def app(scope, receive, send): await PlainTextResponse("well")(scope, receive, send)
    ext.add(ROUTES, Routes(app, 'page'))
"""


def write(root: Path, id: str, code: str, *, name: str = "", more: str = "") -> str:
    """A small extension on disk."""
    folder = root / id
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    (folder / "extension.toml").write_text(
        f'id = "{id}"\nname = "{name or id.title()}"\nversion = "1"\nsummary = "Tests."\n'
        f"api = 1\n{more}\n"
    )
    (folder / "__init__.py").write_text(code)
    text = "good is well" if id == "good" else "{{ text }}"
    (folder / "templates" / "it.html").write_text(text)
    return id


def told(app: App) -> str:
    """What the card of the bad one says of it."""
    settings, kernel = app.kernel.records["settings"].handle, app.kernel
    assert settings
    html = settings.render("_card.html", oob=True, card=card(kernel, kernel.records["bad"], 0))
    return html[: html.index('class="ends"')]
