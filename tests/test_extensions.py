"""What every extension must satisfy, and what the kernel does for those that do not."""

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernel import manager
from kernel.contract import Turn
from kernel.life import forget_modules
from kernel.manager import Kernel
from kernel.records import Status
from kernel.settings import SettingsFile
from kernel.testing import ROOT, Scripted, conformance, running
from kernel.testing.conformance import CHECKS
from kernel.testing.plugin import examine

ALL = sorted(p.parent.name for p in (ROOT / "extensions").glob("*/extension.toml"))
MANIFEST = 'id = "{id}"\nname = "{id}"\nversion = "1"\nsummary = "Tests."\napi = {api}\n{more}\n'


def write(root: Path, id: str, code: str, *, more: str = "", api: int = 1) -> str:
    """A small extension on disk."""
    folder = root / id
    folder.mkdir(exist_ok=True)
    (folder / "extension.toml").write_text(MANIFEST.format(id=id, api=api, more=more))
    (folder / "__init__.py").write_text(code)
    return id


@pytest.fixture
def cycles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred starts of every extension take a minute; 3 tell of a leak as well, for what one
    leaves is seen."""
    if not request.config.getoption("--long"):
        monkeypatch.setattr(conformance, "CYCLES", 3)


@pytest.mark.parametrize("promise", CHECKS)
@pytest.mark.parametrize("id", ALL)
@pytest.mark.usefixtures("cycles")
def test_it_keeps_what_every_extension_promises(id: str, promise: str):
    examine(ROOT / "extensions" / id, promise)


async def test_off_means_never_imported(tmp_path: Path):
    write(tmp_path, "explosive", "raise SystemError('imported')")
    async with running(folders=[tmp_path]) as app:
        assert app.kernel.records["explosive"].status is Status.OFF
        assert "extensions.explosive" not in sys.modules


@pytest.mark.parametrize(
    ("code", "more", "api", "sentence"),
    [
        ("syntax error here", "", 1, "SyntaxError"),
        ("import no_such_module_at_all", "", 1, "no_such_module_at_all"),
        ("async def setup(ext):\n    raise RuntimeError('boom')", "", 1, "boom"),
        ("async def setup(ext):\n    raise SystemExit(3)", "", 1, "sys.exit"),
        ("async def setup(ext): pass", "", 99, "API 99"),
        ("async def setup(ext): pass", '[requires]\npython = ["nope==1"]', 1, "nope==1"),
        ("async def setup(ext): pass", '[requires]\nextensions = ["missing"]', 1, "'missing'"),
        ("async def setup(ext): pass", '[requires]\nextensions = ["bad"]', 1, "needs itself"),
        ("async def setup(ext): pass", "colour = 3", 1, "colour"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_one_that_cannot_run_says_why_and_the_rest_runs(
    tmp_path: Path, code: str, more: str, api: int, sentence: str
):
    write(tmp_path, "bad", code, more=more, api=api)
    good = write(tmp_path, "good", "async def setup(ext): pass")
    async with running(good, folders=[tmp_path]) as app:
        assert not await app.kernel.start("bad")
        record = app.kernel.records["bad"]
        assert record.status in (Status.FAILED, Status.INCOMPATIBLE)
        assert sentence in record.reason
        assert app.kernel.records["good"].status is Status.RUNNING


RAISING = """
from kernel.api import INPUT
async def setup(ext):
    @ext.on(INPUT)
    async def modify(turn):
        raise ZeroDivisionError("on purpose")
"""


async def test_three_failures_set_it_aside_and_a_new_start_forgives(tmp_path: Path):
    id = write(tmp_path, "raising", RAISING)
    async with running(id, model=Scripted("Hi."), folders=[tmp_path]) as app:
        record = app.kernel.records[id]
        for _ in range(3):
            reply = app.run(Turn(prompt="x"))
            assert "".join([delta.text async for delta in reply]) == "Hi."
        await app.settled()
        assert record.status is Status.QUARANTINED
        assert "on purpose" in record.reason
        assert "input" in record.reason
        assert await app.kernel.start(id)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
async def test_a_lack_of_open_files_or_room_is_nobodys_fault(tmp_path: Path, number: int):
    lack = f"OSError({number}, {os.strerror(number)!r})"
    lacking = RAISING.replace('ZeroDivisionError("on purpose")', lack)
    id = write(tmp_path, "lacking", lacking)
    async with running(id, model=Scripted("Hi."), folders=[tmp_path]) as app:
        for _ in range(5):
            reply = app.run(Turn(prompt="x"))
            assert "".join([delta.text async for delta in reply]) == "Hi."
        await app.settled()
        assert app.kernel.records[id].status is Status.RUNNING
        assert os.strerror(number) in app.kernel.trouble[id][-1]


DEAF = """
from kernel.api import Failure, INPUT
async def setup(ext):
    ext.heard = []
    @ext.on(Failure)
    async def failed(event):
        ext.heard.append(event)
        raise OSError(24, "Too many open files")
    @ext.on(INPUT)
    async def modify(turn):
        raise OSError(24, "Too many open files")
"""


async def test_who_fails_at_a_failure_does_not_hear_of_it(tmp_path: Path):
    """Else one failure would go round for ever."""
    id = write(tmp_path, "deaf", DEAF)
    async with running(id, model=Scripted("Hi."), folders=[tmp_path]) as app:
        reply = app.run(Turn(prompt="x"))
        assert "".join([delta.text async for delta in reply]) == "Hi."
        for _ in range(5):
            await app.settled()
        said = app.kernel.trouble[id]
        assert [line.partition(":")[0] for line in said] == ["input", "listener Failure"]


UPPER = """
from kernel.api import OUTPUT, Delta
async def setup(ext):
    @ext.on(OUTPUT)
    async def upper(deltas, turn):
        async for delta in deltas:
            yield Delta(delta.text.upper())
"""


async def test_switched_off_while_a_reply_streams_it_leaves_within_300_ms(tmp_path: Path):
    id = write(tmp_path, "upper", UPPER)
    gate = asyncio.Semaphore(0)
    async with running(id, model=Scripted("one two three", gate=gate), folders=[tmp_path]) as app:
        reply = app.run(Turn(prompt="x"))
        said = aiter(reply)
        gate.release()
        assert (await anext(said)).text == "ONE"
        started = asyncio.get_running_loop().time()
        await app.kernel.changes.toggle(id, on=False)
        assert asyncio.get_running_loop().time() - started < 0.3
        for _ in range(3):
            gate.release()
        rest = [delta async for delta in said]
        assert reply.text == "one two three"
        assert rest[0].replace
        assert reply.finish
        assert reply.finish.reason == "stop"


async def test_one_switched_on_applies_from_the_next_reply(tmp_path: Path):
    write(tmp_path, "upper", UPPER)
    gate = asyncio.Semaphore(0)
    async with running(model=Scripted("one two", gate=gate), folders=[tmp_path]) as app:
        reply = app.run(Turn(prompt="x"))
        said = aiter(reply)
        gate.release()
        await anext(said)
        started = asyncio.get_running_loop().time()
        await app.kernel.changes.toggle("upper", on=True)
        assert asyncio.get_running_loop().time() - started < 0.3
        for _ in range(9):
            gate.release()
        assert [delta.text async for delta in said] == [" two"]
        assert "".join([d.text async for d in app.run(Turn(prompt="x"))]) == "ONE TWO"


PLAIN = """
from kernel.api import MODES, Request
class Plain:
    id = label = "plain"
    async def request(self, turn, history):
        return Request(turn.slot, messages=turn.messages)
async def setup(ext):
    ext.add(MODES, Plain())
"""


async def test_without_its_mode_a_reply_stops_and_says_why(tmp_path: Path):
    id = write(tmp_path, "plain", PLAIN)
    gate = asyncio.Semaphore(0)
    async with running(id, model=Scripted("one two three", gate=gate), folders=[tmp_path]) as app:
        said = aiter(reply := app.run(Turn(mode="plain")))
        gate.release()
        assert (await anext(said)).text == "one"
        await app.kernel.changes.toggle(id, on=False)
        assert [delta async for delta in said] == []
        assert reply.finish
        assert (reply.finish.reason, reply.finish.error) == ("cancelled", "plain was switched off.")


LATE = UPPER.replace(".upper())", " + '!')")


async def test_the_order_of_the_file_is_the_pipeline_live(tmp_path: Path):
    ids = [write(tmp_path, "upper", UPPER), write(tmp_path, "late", LATE.replace("'!'", "'a'"))]
    async with running(*ids, model=Scripted("x"), folders=[tmp_path]) as app:
        for order, said in ((["upper", "late"], "Xa"), (["late", "upper"], "XA")):
            await app.kernel.changes.reorder(order)
            assert "".join([d.text async for d in app.run(Turn(prompt="?"))]) == said


async def test_the_phase_counts_before_the_order_of_the_file(tmp_path: Path):
    code = UPPER.replace("import ", "import Phase, ").replace(".upper())", " + {word!r})")
    for id, phase in (("late", "LATE"), ("usual", "NORMAL"), ("early", "EARLY")):
        at = code.replace("on(OUTPUT)", f"on(OUTPUT, phase=Phase.{phase})")
        write(tmp_path, id, at.format(word=f" {id}"))
    ids = ["late", "usual", "early"]
    text = "extensions:\n" + "".join(f"  {id}: {{}}\n" for id in ids)
    async with running(*ids, model=Scripted("x"), folders=[tmp_path], settings=text) as app:
        assert await app.say() == "x early usual late"
        for order in (ids[::-1], ids):
            await app.kernel.changes.reorder(order)
            assert await app.say() == "x early usual late"


HOLDING = """
import asyncio
from contextlib import asynccontextmanager
async def setup(ext):
    ext.tasks = []
    @asynccontextmanager
    async def working():
        async with asyncio.TaskGroup() as group:
            ext.tasks.append(asyncio.current_task())
            yield group
            ext.tasks.append(asyncio.current_task())
    async def own():
        await asyncio.sleep(0.02)
    async def polls():
        while True:
            await asyncio.sleep(0.01)
    ext.group = await ext.enter(working())
    {more}
"""


@pytest.mark.parametrize("work", ["", "asyncio.sleep(0.02)", "own()", "polls()"])
async def test_one_that_holds_a_group_of_tasks_open_is_stopped_from_another_task(
    tmp_path: Path, work: str
):
    """A group must be left in the task in which it was entered."""
    more = work and f"ext.group.create_task({work})"
    id = write(tmp_path, "holding", HOLDING.format(more=more))
    async with running(id, folders=[tmp_path]) as app:
        record = app.kernel.records[id]
        app.kernel.guard.budget = 0.2  # So long those have that end by themselves.
        for _ in range(2):
            ext: Any = app.extension(id)
            await app.toggle(id, on=False)
            assert (record.status, record.reason) == (Status.OFF, "")
            entered, left = ext.tasks
            assert entered is left is not asyncio.current_task()
            assert app.kernel.trouble == {}
            await app.toggle(id, on=True)
            assert record.status is Status.RUNNING


CLOSING = """
import asyncio
from contextlib import asynccontextmanager
async def setup(ext):
    ext.written = []
    queue = asyncio.Queue()
    async def write():
        while (number := await queue.get()) is not None:
            await asyncio.sleep(0.03)
            ext.written.append(number)
    @asynccontextmanager
    async def writer():
        task = asyncio.create_task(write())
        try: yield
        finally:
            queue.put_nowait(None)
            await task
    await ext.enter(writer())
    for number in range(10): queue.put_nowait(number)
"""


async def test_a_resource_has_its_time_to_close(tmp_path: Path):
    """Here it waits for a task of its own, which is no stray."""
    id = write(tmp_path, "closing", CLOSING)
    async with running(id, folders=[tmp_path]) as app:
        ext: Any = app.extension(id)
        await app.toggle(id, on=False)
        assert ext.written == [*range(10)]
        assert app.kernel.trouble == {}


async def test_an_edit_of_the_file_in_an_editor_switches_it(tmp_path: Path):
    id = write(tmp_path, "upper", UPPER)
    data = tmp_path / "data"
    async with running(folders=[tmp_path], data=data) as app:
        kernel = app.kernel
        kernel.only = None
        watching = asyncio.create_task(kernel.settings.watch(kernel.changes.apply, every=0.02))
        for on in (True, False, True):
            (data / "settings.yaml").write_text(f"extensions:\n  {id}:\n    enabled: {on}\n")
            wanted = Status.RUNNING if on else Status.OFF
            await app.until(lambda wanted=wanted: kernel.records[id].status is wanted)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


SETTINGS = """
from typing import Annotated
from kernel.api import Meta, OUTPUT, SettingsChanged, Struct
class Settings(Struct, frozen=True):
    level: Annotated[int, Meta(ge=1, le=9, description="How much.")] = 3
async def setup(ext):
    ext.emit(("started", ext.settings.level))
    {listen}
"""
LISTEN = """
    @ext.on(SettingsChanged)
    async def changed(event):
        ext.emit(("changed", ext.settings.level))
"""


@pytest.mark.parametrize(("listen", "word"), [("", "started"), (LISTEN, "changed")])
async def test_a_changed_setting_restarts_it_or_is_told(tmp_path: Path, listen: str, word: str):
    id = write(tmp_path, "leveled", SETTINGS.format(listen=listen))
    async with running(id, folders=[tmp_path]) as app:
        queue, dispose = app.kernel.bus.open(tuple)
        assert await app.kernel.changes.configure(id, {"level": "7"}) == {}
        assert await queue.get() == (word, 7)
        errors = await app.kernel.changes.configure(id, {"level": "70"})
        assert "from 1 to 9" in errors["level"]
        assert app.kernel.settings.extension(id, app.kernel.records[id].kind).level == 7  # type: ignore[attr-defined]
        dispose()


NOTHING = "async def setup(ext): pass"
WRITING = """
from kernel.api import Action, Struct
class Settings(Struct, frozen=True):
    pace: int = 1
class Write(Action, frozen=True):
    pass
async def setup(ext):
    @ext.on(Write)
    async def write(action, client):
        ext.configure({"pace": 2})
"""


async def test_with_strict_a_setup_that_fails_ends_the_start(tmp_path: Path):
    id = write(tmp_path, "torn", "async def setup(ext):\n    raise LookupError('the belt')")
    with pytest.raises(LookupError, match="the belt"):
        async with running(id, folders=[tmp_path], strict=True):
            pass


async def test_settings_that_cannot_be_written_are_told_and_nobodys_fault(tmp_path: Path):
    id = write(tmp_path, "writing", WRITING)
    async with running(id, folders=[tmp_path], data=tmp_path) as app:
        (tmp_path / "settings.yaml").write_text("model: [\n")
        page = app.page()
        for _ in range(4):
            await page.act("writing.write")
        await page.until("Correct it; until then nothing changes")
        await app.settled()
        assert app.kernel.records[id].status is Status.RUNNING
        assert app.kernel.trouble == {}


async def test_what_an_engine_refuses_is_told_and_nobodys_fault(tmp_path: Path):
    code = WRITING.replace('ext.configure({"pace": 2})', 'raise Refused("It is too big. Cut it.")')
    id = write(tmp_path, "writing", "from kernel.contract import Refused\n" + code)
    async with running(id, folders=[tmp_path]) as app:
        page = app.page()
        await page.act("writing.write")
        await page.until("It is too big. Cut it.")
        assert app.kernel.trouble == {}


@pytest.mark.parametrize("leads", [True, False])
async def test_who_leads_to_all_the_others_is_never_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads: bool
):
    """That is Settings alone: that something may ask for the kernel itself is no reason."""
    id = write(tmp_path, "raising", RAISING, more='permissions = ["kernel:admin"]')
    monkeypatch.setattr(manager, "LEADS", id if leads else manager.LEADS)
    async with running(id, model=Scripted("Hi."), folders=[tmp_path]) as app:
        for _ in range(4):
            _ = [delta async for delta in app.run(Turn(prompt="x"))]
        await app.settled()
        status = Status.RUNNING if leads else Status.QUARANTINED
        assert app.kernel.records[id].status is status
        assert "on purpose" in app.kernel.trouble[id][-1]


def chain(root: Path) -> list[str]:
    """Three, each of which needs the one before."""
    write(root, "base", NOTHING)
    write(root, "middle", NOTHING, more='requires = {extensions = ["base"]}')
    write(root, "top", NOTHING, more='requires = {extensions = ["middle"]}')
    return ["base", "middle", "top"]


@pytest.mark.parametrize("again", ["toggle", "restart", "quarantine"])
async def test_what_needs_it_stops_and_starts_with_it(tmp_path: Path, again: str):
    ids = chain(tmp_path)
    async with running(*ids, folders=[tmp_path]) as app:
        kernel = app.kernel
        if again == "toggle":
            await kernel.changes.toggle("base", on=False)
        elif again == "quarantine":
            await kernel.stop("base", Status.QUARANTINED, "It failed.")
        if again != "restart":
            assert [kernel.records[id].status for id in ids[1:]] == [Status.OFF, Status.OFF]
            why = "It needs base, and starts again when that does."
            assert kernel.records["middle"].reason == why
            assert kernel.absent("middle") == f"middle does not run. {why}"
        if again == "toggle":
            await kernel.changes.toggle("base", on=True)
        else:
            await (kernel.restart if again == "restart" else kernel.start)("base")
        assert {kernel.records[id].status for id in ids} == {Status.RUNNING}


async def test_switched_on_again_while_what_needs_it_is_leaving_it_all_comes_back(tmp_path: Path):
    ids = chain(tmp_path)
    async with running(*ids, folders=[tmp_path]) as app:
        gate = asyncio.Event()
        app.extension("top").defer(gate.wait)
        off = asyncio.create_task(app.toggle("base", on=False))
        await app.until(lambda: app.kernel.records["top"].status is Status.STOPPING)
        on = asyncio.create_task(app.toggle("base", on=True))
        await app.until(lambda: app.kernel.settings.enabled("base", default=False))
        gate.set()
        await asyncio.gather(off, on)
        assert {app.kernel.records[id].status for id in ids} == {Status.RUNNING}


async def test_what_needs_it_and_is_just_starting_leaves_with_it(tmp_path: Path):
    ids = chain(tmp_path)
    async with running("base", folders=[tmp_path]) as app:
        kernel, gate = app.kernel, asyncio.Event()
        kernel.only = None
        kernel.flags["middle"] = {"gate": gate}
        code = "async def setup(ext):\n    await ext.flag('gate').wait()"
        write(tmp_path, "middle", code, more='requires = {extensions = ["base"]}')
        start = asyncio.create_task(kernel.start("middle"))
        await app.until(lambda: kernel.records["middle"].status is Status.STARTING)
        off = asyncio.create_task(app.toggle("base", on=False))
        await app.until(lambda: not kernel.settings.enabled("base", default=True))
        gate.set()
        await asyncio.gather(start, off)
        assert Status.RUNNING not in {kernel.records[id].status for id in ids}


async def test_switched_off_while_it_starts_again_it_stays_off(tmp_path: Path):
    id = write(tmp_path, "leveled", SETTINGS.format(listen=""))
    async with running(id, folders=[tmp_path]) as app:
        gate = asyncio.Event()
        app.extension(id).defer(gate.wait)
        again = asyncio.create_task(app.kernel.changes.configure(id, {"level": 7}))
        await app.until(lambda: app.kernel.records[id].status is Status.STOPPING)
        off = asyncio.create_task(app.toggle(id, on=False))
        await app.until(lambda: not app.kernel.settings.enabled(id, default=True))
        gate.set()
        await asyncio.gather(again, off)
        assert app.kernel.records[id].status is Status.OFF


async def test_a_change_while_everything_ends_starts_nothing(tmp_path: Path):
    id = write(tmp_path, "leveled", SETTINGS.format(listen=""))
    async with running(id, folders=[tmp_path]) as app:
        gate = asyncio.Event()
        app.extension(id).defer(gate.wait)
        closing = asyncio.create_task(app.kernel.close())
        await app.until(lambda: app.kernel.records[id].status is Status.STOPPING)
        change = asyncio.create_task(app.kernel.changes.apply({f"extensions.{id}"}))
        gate.set()
        await asyncio.gather(closing, change)
        assert app.kernel.records[id].status is Status.OFF


async def test_only_what_is_on_is_started_for_another(tmp_path: Path):
    ids = chain(tmp_path)
    off = "extensions:\n  base:\n    enabled: false\n"
    async with running(folders=[tmp_path], settings=off) as app:
        kernel = app.kernel
        kernel.only = None
        assert not await kernel.start("middle")
        said = "It needs base, which is switched off. Switch that on first."
        assert kernel.records["middle"].reason == said
        assert kernel.records["base"].status is Status.OFF
        await kernel.changes.toggle("base", on=True)  # and now all that waited for it
        assert {kernel.records[id].status for id in ids} == {Status.RUNNING}


async def test_a_choice_of_extensions_brings_what_they_need(tmp_path: Path):
    ids = chain(tmp_path)
    async with running("top", folders=[tmp_path]) as app:
        assert app.kernel.only == set(ids)
        assert {app.kernel.records[id].status for id in ids} == {Status.RUNNING}


async def test_one_that_is_set_aside_stays_so_until_it_is_switched(tmp_path: Path):
    id = write(tmp_path, "leveled", SETTINGS.format(listen=""))
    async with running(id, folders=[tmp_path]) as app:
        record = app.kernel.records[id]
        await app.kernel.stop(id, Status.QUARANTINED, "It failed.")
        await app.kernel.changes.configure(id, {"level": 4})
        assert record.status is Status.QUARANTINED
        await app.kernel.changes.toggle(id, on=False)
        assert (record.status, record.reason) == (Status.OFF, "")
        await app.kernel.changes.toggle(id, on=True)
        assert record.status is Status.RUNNING


async def test_one_that_failed_can_be_switched_off(tmp_path: Path):
    id = write(tmp_path, "bad", "async def setup(ext):\n    raise RuntimeError('boom.')")
    async with running(folders=[tmp_path]) as app:
        record = app.kernel.records[id]
        await app.kernel.changes.toggle(id, on=True)
        assert record.reason == "RuntimeError: boom (__init__.py, line 2). Mend it, then try again."
        await app.kernel.changes.toggle(id, on=False)
        assert (record.status, record.reason) == (Status.OFF, "")


TYPED = """
from typing import Annotated
from kernel.api import INPUT, Action, Meta, Struct
"""
ROUTED = "from kernel.api import ROUTES, Route, Router, Routes\nasync def setup(ext):\n"
WRONG = {
    "settings": (
        "class Settings(Struct, frozen=True):\n    n: Annotated[str, Meta(ge=1)] = ''\n"
        "async def setup(ext): ...",
        "TypeError: its Settings: Can only set `ge` on a numeric type",
    ),
    "settings that are no struct": (
        "class Settings:\n    n = 1\nasync def setup(ext): ...",
        "TypeError: its Settings: ",
    ),
    "an action": (
        "class Go(Action, frozen=True):\n    n: Annotated[str, Meta(ge=1)]\n"
        "async def setup(ext):\n    @ext.on(Go)\n    async def go(action, client): ...",
        "TypeError: Can only set `ge` on a numeric type",
    ),
    "setup": ("def setup(ext): ...", "TypeError: setup must be “async def” (__init__.py, line 4)"),
    "settings beyond their own bounds": (
        "class Settings(Struct, frozen=True):\n    n: Annotated[int, Meta(le=3)] = 9\n"
        "async def setup(ext): ...",
        "TypeError: its Settings: Expected `int` <= 3",
    ),
    "settings of another name": (
        "class MySettings(Struct, frozen=True):\n    n: int = 0\n"
        "async def setup(ext): ext.settings.n",
        "AttributeError: it has no setting 'n': they are a class named Settings (__init__.py, line",
    ),
    "two routes": (
        f"{ROUTED}    ext.add(ROUTES, Routes(Router([]), 'public'))\n"
        + "    ext.add(ROUTES, Routes(Router([]), 'page'))",
        "ValueError: An extension has one Routes: put all into it, and what the page alone may ask",
    ),
    "who may ask": (
        f"{ROUTED}    ext.add(ROUTES, Routes(Router([]), 'programs'))",
        "ValueError: access is one of public, page, files, inference, admin, not 'programs' (",
    ),
    "a path that is not its own": (
        f"{ROUTED}    ext.add(ROUTES, Routes(Router([Route('/hi', None)]), 'public'))",
        "ValueError: /hi is not its own. Write /ext/bad/hi, or claim it in extension.toml: paths",
    ),
    "a job of no kind": (
        "from kernel.api import JobKind\nclass Fetch(JobKind, frozen=True): title = 'Fetch'\n"
        "async def setup(ext): ext.job('Fetch', Fetch())",
        "LookupError: nobody does Fetch. Write: @ext.on(Fetch) (__init__.py, line",
    ),
    "spawn": (
        "async def tick(): ...\nasync def setup(ext):\n    ext.spawn(tick)",
        "TypeError: spawn takes what an “async def” gives when called: spawn(tick()) "
        "(__init__.py, line 6)",
    ),
}


@pytest.mark.parametrize("code", WRONG.values(), ids=WRONG)
async def test_a_slip_of_an_author_is_told_on_its_own_card(tmp_path: Path, code: tuple[str, str]):
    id = write(tmp_path, "bad", TYPED + code[0])
    async with running("settings", folders=[tmp_path]) as app:
        await app.kernel.changes.toggle(id, on=True)
        record = app.kernel.records[id]
        assert (record.status, record.reason[: len(code[1])]) == (Status.FAILED, code[1])
        page = await app.open("/settings")
        assert "could not draw this" not in page.html
        assert record.reason.partition(":")[0] in page.html, "on its card"
        assert app.kernel.absent(id) == "bad does not run. Its card in Settings says why."
        await app.kernel.changes.toggle(id, on=False)
        assert app.kernel.absent(id) == "bad is switched off. Switch it on in Settings."


RIGHT = {
    "a pattern": "ext.add(ROUTES, Routes(Router([Route('/ext/{id}/hi', None)]), 'page'))",
    "mounted": "ext.add(ROUTES, Routes(Router([Mount('/', Router([]))]), 'page'))",
    "one of two": "ext.add(ROUTES, Routes(Router([Route('/docs', None), "
    "Route('/ext/good/x', None)]), 'page'))",
    "several at once": "ext.spawn(asyncio.gather(asyncio.sleep(0)))",
}


@pytest.mark.parametrize("code", RIGHT.values(), ids=RIGHT)
async def test_what_an_author_may_do_is_no_slip(tmp_path: Path, code: str):
    id = write(
        tmp_path, "good", f"import asyncio\nfrom starlette.routing import Mount\n{ROUTED}    {code}"
    )
    async with running(id, folders=[tmp_path]):
        pass


async def test_one_that_is_broken_is_started_once_whoever_failed_over_it(tmp_path: Path):
    base = write(tmp_path, "base", NOTHING)
    broken = "async def setup(ext): raise ValueError('mine')"
    needs = 'requires = {extensions = ["base"]}'
    ids = [write(tmp_path, f"user{n}", broken, more=needs) for n in range(3)]
    async with running(base, folders=[tmp_path]) as app:
        kernel = app.kernel
        kernel.only = {base, *ids}
        for id in ids:
            await kernel.start(id)
        starts = tmp_path / base / "starts"
        code = f"async def setup(ext):\n    with open({str(starts)!r}, 'a') as file:\n"
        code += "        file.write('x')\n    raise ValueError"
        (tmp_path / base / "__init__.py").write_text(code)
        await kernel.restart(base)
        assert starts.read_text() == "x"
        assert {kernel.records[id].status for id in ids} == {Status.FAILED}
        assert "mine" in kernel.records[ids[0]].reason, "each keeps its own"


WITHOUT_A_FRAME = """
from kernel.api import INPUT, OUTPUT, PANELS, Action, Panel
class Go(Action, frozen=True): ...
async def setup(ext):
    @ext.on(INPUT)
    async def nothing(turn): ...
    @ext.on(OUTPUT)
    async def words(deltas, turn):
        async for delta in deltas:
            yield delta.text
    @ext.on(OUTPUT)
    async def whole(deltas, turn):
        return deltas
    @ext.on(Go)
    async def go(action, client, more): ...
    async def context(client): return {}
    ext.add(PANELS, Panel("tab", "it.html", context))
"""


async def test_what_leaves_no_frame_of_an_author_s_is_told_with_its_place(tmp_path: Path):
    id = write(tmp_path, "bad", WITHOUT_A_FRAME)
    (tmp_path / id / "templates").mkdir()
    (tmp_path / id / "templates" / "it.html").write_text("It.")
    async with running(id, folders=[tmp_path], model=Scripted("Hi.")) as app:
        page = await app.open("/bad")
        app.kernel.guard.forgive(id)
        await page.act("bad.go")
        app.kernel.guard.forgive(id)
        assert await app.say("Hello") == "Hi."
        told = "; ".join(app.kernel.trouble[id])
    for says in (
        "panel it.html: TypeError: setup.<locals>.context() takes 1 positional argument but 2 were "
        "given (__init__.py, line 16)",
        "missing 1 required positional argument: 'more' (__init__.py, line 14)",
        "input: TypeError: expected Turn, got NoneType (__init__.py, line 5)",
        "output: TypeError: expected Delta, got str (__init__.py, line 7)",
        "output: TypeError: it gives a value where it must yield (__init__.py, line 11)",
    ):
        assert says in told, told


async def test_one_that_failed_over_another_s_file_names_that_and_comes_back_with_it(
    tmp_path: Path,
):
    lib = write(tmp_path, "lib", NOTHING)
    (tmp_path / lib / "api.py").write_text("ADD = = 1")
    code = "from extensions.lib.api import ADD\nasync def setup(ext): ..."
    user = write(tmp_path, "user", code, more='requires = {extensions = ["lib"]}')
    async with running(lib, folders=[tmp_path]) as app:
        record = app.kernel.records[user]
        app.kernel.only = {lib, user}
        await app.kernel.start(user)
        says = "SyntaxError: invalid syntax (lib/api.py, line 1) (__init__.py, line"
        assert (record.status, record.reason[: len(says)]) == (Status.FAILED, says)
        (tmp_path / lib / "api.py").write_text("ADD = 1")
        await app.kernel.restart(lib)
        assert record.status is Status.RUNNING


NOT_ASYNC = """
from kernel.api import OUTPUT, PANELS, Panel, Phase, whole_text
def work(job): ...
def context(client, subject): return {}
def change(text): return text
async def setup(ext):
    ext.begin = lambda: ext.job("Counting", work)
    ext.add(PANELS, Panel("tab", "it.html", context))
    ext.on(OUTPUT, rewrites=True)(whole_text(change))
"""


async def test_a_plain_def_where_it_has_to_be_async_is_told_by_its_name_and_line(tmp_path: Path):
    id = write(tmp_path, "bad", NOT_ASYNC)
    (tmp_path / id / "templates").mkdir()
    (tmp_path / id / "templates" / "it.html").write_text("It.")
    async with running(id, folders=[tmp_path], model=Scripted("Hi.")) as app:
        extension: Any = app.extension(id)
        with pytest.raises(TypeError, match=r"^work must be “async def” \(__init__.py, line 3\)"):
            await extension.begin().done
        await app.open("/bad")
        assert await app.say("Hello") == "Hi."
        told = "; ".join(app.kernel.trouble[id])
        assert "panel it.html: TypeError: context must be “async def” (__init__.py, line 4" in told
        assert "output: TypeError: change must be “async def” (__init__.py, line 5" in told


async def test_secrets_that_may_not_be_read_hide_no_other_card(tmp_path: Path):
    code = "class Settings(Struct, frozen=True):\n    n: int = 0\nasync def setup(ext): ..."
    id = write(tmp_path, "bad", TYPED + code)
    async with running("settings", id, folders=[tmp_path]) as app:
        await app.kernel.changes.toggle(id, on=False)
        (app.kernel.data / "secrets" / "extensions.bad.json").mkdir(parents=True)
        await app.kernel.changes.toggle(id, on=True)
        assert app.kernel.records[id].status is Status.FAILED
        page = await app.open("/settings")
        assert "extensions.bad.json may not be read" in page.html
        assert "could not draw this" not in page.html
        await app.kernel.changes.toggle(id, on=False)
        assert app.kernel.records[id].status is Status.OFF


async def test_an_action_that_refuses_to_be_made_is_made_by_who_presses(tmp_path: Path):
    code = """
from kernel.api import Refused
class Go(Action, frozen=True):
    name: str = ""
    def __post_init__(self):
        if not self.name:
            raise Refused("Give it a name.")
async def setup(ext):
    @ext.on(Go)
    async def go(action, client): ...
"""
    id = write(tmp_path, "good", TYPED + code)
    async with running(id, folders=[tmp_path]) as app:
        assert app.kernel.records[id].status is Status.RUNNING


async def test_a_plain_function_where_one_has_to_be_awaited_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    plain = "async def setup(ext):\n    @ext.on(INPUT)\n    def mend(turn): return turn"
    id = write(tmp_path, "bad", TYPED + plain)
    async with running(id, "instruct", folders=[tmp_path], model=Scripted("Yes.")) as app:
        assert await app.say("Hello") == "Yes."
        assert "mend must be “async def” (__init__.py, line 5)" in caplog.text


async def test_a_manifest_that_cannot_be_read_says_so_whatever_is_switched(tmp_path: Path):
    id = write(tmp_path, "bad", NOTHING, more="colour = 3")
    async with running(folders=[tmp_path]) as app:
        for on in (False, True):
            await app.kernel.changes.toggle(id, on=on)
            assert "colour" in app.kernel.records[id].reason


async def test_a_setup_that_takes_too_long_says_so(tmp_path: Path):
    id = write(tmp_path, "slow", "import asyncio\nasync def setup(ext): await asyncio.sleep(9)")
    async with running(folders=[tmp_path]) as app:
        app.kernel.only, app.kernel.patience = {id}, 0.01
        assert not await app.kernel.start(id)
        assert "setup took longer than 0.01 s. Mend it" in app.kernel.records[id].reason


async def test_the_file_is_written_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    id = write(tmp_path, "leveled", SETTINGS.format(listen=LISTEN))
    async with running(id, folders=[tmp_path]) as app:
        threads: list[threading.Thread] = []
        for name in ("update", "reorder", "reload"):
            real = getattr(SettingsFile, name)

            def noted(*args: object, real: Callable[..., object] = real) -> object:
                threads.append(threading.current_thread())
                return real(*args)

            monkeypatch.setattr(SettingsFile, name, noted)
        changes = app.kernel.changes
        await changes.toggle(id, on=True)
        await changes.configure(id, {"level": 4})
        await changes.section("appearance", {"theme": "dark"})
        await changes.reorder([id])
        assert len(threads) == 8
        assert threading.main_thread() not in threads


async def test_people_read_names(tmp_path: Path):
    async with running() as app:
        page = app.page()
        await page.act("conversations.whatever")
        await page.until("Conversations is switched off. Switch it on in Settings.")


def test_the_kernel_finds_every_extension(tmp_path: Path):
    async def look() -> set[str]:
        kernel = Kernel(
            SettingsFile(tmp_path / "s.yaml", tmp_path), [ROOT / "extensions"], tmp_path
        )
        kernel.discover()
        return set(kernel.records)

    assert asyncio.run(look()) == set(ALL)


@pytest.mark.parametrize("path", ["/v1", "/v1/models", "/settings", "/settings/about", "/old"])
async def test_f55_an_address_of_another_cannot_be_claimed(tmp_path: Path, path: str):
    write(tmp_path, "old", NOTHING, more='paths = ["/v1"]')
    write(tmp_path, "new", NOTHING, more=f'paths = ["{path}"]')
    async with running("old", folders=[tmp_path]) as app:
        app.kernel.only = {"old", "new", "settings"}
        assert not await app.kernel.start("new")
        assert f"serves {path[:3] if 'v1' in path else '/' + path.split('/')[1]} already" in (
            app.kernel.records["new"].reason
        )


async def test_below_the_page_of_what_it_requires_it_may_serve(tmp_path: Path):
    requires = '\n[requires]\nextensions = ["old"]'
    write(tmp_path, "old", NOTHING)
    write(tmp_path, "new", NOTHING, more='paths = ["/old/load"]' + requires)
    write(tmp_path, "bold", NOTHING, more='paths = ["/old"]' + requires)
    async with running("old", folders=[tmp_path]) as app:
        app.kernel.only = {"old", "new", "bold"}
        assert not await app.kernel.start("bold")
        assert "serves /old already" in app.kernel.records["bold"].reason
        assert await app.kernel.start("new"), app.kernel.records["new"].reason


def test_modules_are_forgotten_while_a_thread_loads_others(monkeypatch: pytest.MonkeyPatch):
    """A library that is loaded beside a switch must not break the switch."""
    monkeypatch.setattr(sys, "modules", modules := dict(sys.modules))
    modules["extensions.passing.part"] = sys
    done = threading.Event()

    def load() -> None:
        for number in range(20_000):
            if done.is_set():
                return
            modules[f"loaded_{number}"] = sys

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(50):
            forget_modules("passing")
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert "extensions.passing.part" not in modules
