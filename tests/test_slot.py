"""The model slot under fire: load, unload, reload, switch, death."""

import asyncio
import errno
import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast
from unittest.mock import AsyncMock, Mock

import msgspec
import pytest

from kernel.contract import UNSET, Finish, Meta, Report, Request, Sampling, Struct, Turn
from kernel.environments import EnvironmentFailed
from kernel.generation import WorkerError
from kernel.loaders import LOADERS, Installs, Loader, Telling, ToInstall
from kernel.model import LASTING, LoadFailed, NoModel, SlotChanged
from kernel.points import Phase
from kernel.samplers import SAMPLERS, Samplers
from kernel.testing import App, Options, Scripted, ScriptedLoader, running
from kernel.turn import INPUT

PATH = Path("scripted")


def offer(app: App, loader: ScriptedLoader) -> None:
    """A loader beside those that are there."""
    add = app.kernel.registry.add
    add(LOADERS, cast(Loader, loader), "kernel", phase=Phase.LATE, rank=0, rewrites=False)


async def to_the_half(queue: "asyncio.Queue[SlotChanged]") -> list[SlotChanged]:
    """What is told until half of a load is done."""
    heard = [await queue.get()]
    while heard[-1].fraction != 0.5:
        heard.append(await queue.get())
    return heard


async def test_an_empty_slot_says_where_to_look():
    async with running() as app:
        with pytest.raises(NoModel, match="Choose one in the status line"):
            await app.kernel.slot().generate(None)  # type: ignore[arg-type]


async def test_where_no_loader_runs_the_flags_that_can_be_why_are_named():
    async with running() as app:
        with pytest.raises(LoadFailed, match="running: none; --extensions or --safe-mode may be"):
            await app.kernel.slot().load(PATH)


@pytest.mark.parametrize("kind", ["folder", "file"])
async def test_a_name_with_dots_is_shown_whole(tmp_path: Path, kind: str):
    path = tmp_path / ("Qwen2.5-7B" if kind == "folder" else "Qwen2.5-7B.Q4_K_M.gguf")
    path.mkdir() if kind == "folder" else path.touch()
    async with running() as app:
        loader = await app.load(Scripted("Hi."))
        queue, dispose = app.kernel.bus.open(SlotChanged)
        await app.kernel.slot().load(path, loader.id)
        dispose()
        shown = "Qwen2.5-7B" if kind == "folder" else "Qwen2.5-7B.Q4_K_M"
        assert {queue.get_nowait().name for _ in range(queue.qsize())} == {shown}


async def test_it_loads_unloads_and_reloads():
    async with running(model=Scripted("Hi.")) as app:
        slot = app.kernel.slot()
        assert slot.state.state == "ready"
        await slot.unload()
        assert (slot.state.state, slot.model) == ("empty", None)
        await slot.reload()
        assert slot.state.state == "ready"


async def test_who_asks_before_the_loader_is_there_waits_for_it():
    async with running() as app:
        slot = app.kernel.slot()
        expecting = asyncio.create_task(slot.expect(PATH))
        await asyncio.sleep(0)
        assert (slot.state.state, slot.state.note) == ("loading", "Loading scripted")
        asking = asyncio.create_task(slot.settled())
        await asyncio.sleep(0.01)
        assert not asking.done()
        await app.load(Scripted("Hi."))
        await asking
        await expecting
        assert slot.state.state == "ready"


async def test_who_asks_while_the_old_engine_ends_waits_for_the_new_one():
    """A large model takes a while to give its memory back: a message meanwhile finds the next."""
    ending, ended = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def close(self) -> None:
            ending.set()
            await ended.wait()
            await super().close()

    async with running() as app:
        loader = await app.load(Slow("Old."))
        loader.model = Scripted("New.")
        loading = asyncio.create_task(app.kernel.slot().reload())
        await ending.wait()
        asked = asyncio.create_task(app.say("Hello"))
        await asyncio.sleep(0.02)
        assert app.kernel.slot().state.state == "loading"
        ended.set()
        await loading
        assert await asked == "New."


async def test_a_newer_wish_waits_until_the_old_engine_has_ended():
    ending, ended = asyncio.Event(), asyncio.Event()
    opened: list[tuple[str, bool]] = []

    class Slow(Scripted):
        async def close(self) -> None:
            ending.set()
            await ended.wait()
            await super().close()

    async with running() as app:
        loader, slot = await app.load(Slow("Old.")), app.kernel.slot()
        loader.model, first = Scripted("New."), loader.open

        async def watched(path: Path, options: Options, report: Report) -> Scripted:
            opened.append((path.name, ended.is_set()))
            return await first(path, options, report)

        loader.open = watched
        wishes = [asyncio.create_task(slot.load(Path("one"), "scripted"))]
        await ending.wait()
        for name in ("two", "three"):
            wishes.append(asyncio.create_task(slot.load(Path(name), "scripted")))
            await asyncio.sleep(0.01)
        ended.set()
        await asyncio.gather(*wishes, return_exceptions=True)
        assert opened == [("three", True)]


async def test_what_is_expected_no_more_leaves_an_empty_slot():
    async with running() as app:
        slot = app.kernel.slot()
        expecting = asyncio.create_task(slot.expect(PATH))
        await asyncio.sleep(0)
        asking = asyncio.create_task(slot.generate(None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        expecting.cancel()
        with pytest.raises(NoModel, match="Choose one in the status line"):
            await asking
        assert (slot.state.state, slot.state.error) == ("empty", "")
        with pytest.raises(NoModel):
            await slot.reload()


async def test_where_something_is_loaded_nothing_is_expected():
    async with running(model=Scripted("Hi.")) as app:
        await app.kernel.slot().expect(Path("another"))
        assert app.kernel.slot().state.name == "scripted"


async def test_a_dead_engine_is_replaced_once_and_never_in_a_loop():
    async with running() as app:
        model = Scripted("Hi.")
        loader = await app.load(model)
        slot = app.kernel.slot()
        model.die("It was killed by signal 9.")
        await asyncio.sleep(0)
        assert slot.state.state == "loading"
        assert "killed by signal 9" in slot.state.note
        await slot.wait()
        assert (slot.state.state, loader.loads) == ("ready", 2)
        model.die("It was killed by signal 9.")
        await asyncio.sleep(0)
        await slot.wait()
        assert (slot.state.state, loader.loads) == ("failed", 2)
        assert "by hand" in slot.state.error


async def test_a_reply_that_ends_well_earns_the_engine_another_chance():
    async with running() as app:
        model = Scripted("Hi.")
        loader = await app.load(model)
        slot = app.kernel.slot()
        for expected in (2, 3):
            model.die("It was killed.")
            await asyncio.sleep(0)
            await slot.wait()
            assert loader.loads == expected
            slot.ended(Finish("stop"), 0.1)


@pytest.mark.parametrize("slow", [False, True])
async def test_an_engine_that_lived_for_long_earns_another_chance(
    monkeypatch: pytest.MonkeyPatch, slow: bool
):
    """One that is only called, as for embeddings, writes no reply that could prove it. A load that
    takes long is no life."""
    async with running() as app:
        model = Scripted("Hi.")
        loader, slot = await app.load(model), app.kernel.slot()
        now, real = time.monotonic(), loader.open

        async def opening(*said: Any) -> Scripted:
            nonlocal now
            now += LASTING + 1 if slow else 0
            return await real(*said)

        monkeypatch.setattr(loader, "open", opening)
        monkeypatch.setattr("kernel.model.time", Mock(monotonic=lambda: now))
        for expected in (2, 3):
            model.die("It was killed.")
            await asyncio.sleep(0)
            await slot.wait()
            if slow and expected == 3:
                assert (slot.state.state, loader.loads) == ("failed", 2)
                break
            assert (slot.state.state, loader.loads) == ("ready", expected)
            now += 0 if slow else LASTING + 1


async def test_a_disk_that_goes_away_fails_the_load(monkeypatch: pytest.MonkeyPatch):
    async with running() as app:
        loader, stat = await app.load(Scripted("Hi.")), os.stat

        def gone(path: Any, *args: Any, **more: Any) -> os.stat_result:
            if "usb" in str(path):
                raise OSError(errno.EIO, "Input/output error")
            return stat(path, *args, **more)

        monkeypatch.setattr(os, "stat", gone)
        loader.open = AsyncMock(side_effect=OSError("Input/output error"))
        with pytest.raises(LoadFailed, match="Input/output error"):
            await app.kernel.slot().load(Path("usb/m.gguf"), "scripted")
        assert app.kernel.slot().state.state == "failed"


async def test_a_load_that_fails_says_why():
    async with running() as app:
        loader = await app.load(Scripted("Hi."))

        async def broken(*_: object) -> Scripted:
            raise RuntimeError("The file is cut short. Download it again.")

        loader.open = broken  # type: ignore[method-assign]
        with pytest.raises(LoadFailed, match="cut short"):
            await app.kernel.slot().load(PATH, "scripted")
        assert app.kernel.slot().state.state == "failed"


async def test_the_newest_wish_wins_under_fire():
    async with running() as app:
        await app.load(Scripted("Hi."))
        slot, rng = app.kernel.slot(), random.Random(7)

        async def wish() -> None:
            await asyncio.sleep(rng.random() / 20)
            with suppress(LoadFailed):  # A newer wish replaced it.
                await rng.choice([slot.unload, slot.reload, lambda: slot.load(PATH, "scripted")])()

        await asyncio.wait_for(asyncio.gather(*(wish() for _ in range(200))), 20)
        await slot.load(PATH, "scripted")
        assert slot.state.state == "ready"
        assert slot.model is not None


async def test_switching_off_the_loader_unloads_its_model(tmp_path: Path):
    folder = tmp_path / "one_loader"
    folder.mkdir()
    (folder / "extension.toml").write_text(
        'id = "one_loader"\nname = "One"\nversion = "1"\nsummary = "Loads."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(
        "from kernel.api import LOADERS\n"
        "from kernel.testing import Scripted, ScriptedLoader\n"
        "async def setup(ext):\n"
        "    ext.add(LOADERS, ScriptedLoader(Scripted('Hi.')))\n"
    )
    async with running("one_loader", folders=[tmp_path]) as app:
        slot = app.kernel.slot()
        await slot.load(PATH)
        await app.kernel.stop("one_loader")
        assert slot.state.state == "empty"
        assert slot.why == "One was switched off. It ran this model."


async def test_only_the_last_of_quick_choices_is_announced_and_in_order():
    async with running() as app:
        loader = await app.load(Scripted("Hi."))
        slot, open_ = app.kernel.slot(), asyncio.Semaphore(0)
        inside = most = 0

        async def slow(*_: object) -> Scripted:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            try:
                await open_.acquire()
            finally:
                await asyncio.sleep(0.01)  # Ending an engine takes a while.
                inside -= 1
            return Scripted("Hi.")

        loader.open = slow  # type: ignore[method-assign, assignment]
        queue, dispose = app.kernel.bus.open(SlotChanged)
        wishes = [
            asyncio.create_task(slot.load(Path(name), "scripted")) for name in ("a", "b", "c")
        ]
        while slot.state.name != "c" or slot.state.state != "loading":
            await asyncio.sleep(0.005)
        open_.release()
        await asyncio.gather(*wishes, return_exceptions=True)
        dispose()
        told = []
        while not queue.empty():
            told.append(queue.get_nowait().state)
        assert most == 1
        assert told[-1] == "ready"
        assert "empty" not in told[told.index("loading") :]


# --- parameters that a loader adds ---------------------------------------------------------


class Added(Struct, frozen=True):
    """What the scripted loader adds."""

    wobble: Annotated[float, Meta(ge=0, le=1, description="How it wobbles.")] = 0.5
    words: Annotated[tuple[str, ...], Meta(description="Which.")] = ()


async def asked(app: App, **extra: object) -> str:
    """The error of a reply that was asked with these."""
    turn = Turn(prompt="x", sampling=Sampling(temperature=0.5, extra=extra or UNSET))
    reply = app.run(turn)
    async for _ in reply:
        pass
    assert reply.finish
    return reply.finish.error


async def test_what_a_loader_adds_travels_with_the_request_as_plain_data():
    model = Scripted("Hi.")
    async with running(model=model) as app:
        add = app.kernel.registry.add
        _, dispose = add(
            *(SAMPLERS, Samplers("scripted", Added), "kernel"),
            phase=Phase.NORMAL,
            rank=0,
            rewrites=False,
        )
        add(
            *(SAMPLERS, Samplers("other", Added), "kernel"),
            phase=Phase.LATE,
            rank=0,
            rewrites=False,
        )
        assert app.kernel.slot().samplers() == [Added]
        assert await asked(app, wobble="0.25", words="a\nb") == ""
        assert model.asked[-1].sampling.extra == {"wobble": 0.25, "words": ("a", "b")}
        assert model.asked[-1].sampling.temperature == 0.5
        sent = msgspec.msgpack.encode(model.asked[-1])
        arrived = msgspec.msgpack.decode(sent, type=Request).sampling
        assert arrived.extra == {"wobble": 0.25, "words": ["a", "b"]}
        assert await asked(app) == ""
        assert model.asked[-1].sampling.extra is UNSET

        # What is bad or unknown never reaches the loader.
        before = len(model.asked)
        assert await asked(app, wobble=2) == "Wobble must be a number from 0 to 1."
        said = await asked(app, wobbel=0.5)
        assert said == "There is no sampling parameter “wobbel”; did you mean “wobble”?"
        dispose()
        assert "no sampling parameter “wobble”" in await asked(app, wobble=0.5)
        assert len(model.asked) == before


# --- an engine that is installed first -----------------------------------------------------


class Installing(ScriptedLoader):
    """Its engine is installed when the test says so."""

    id = label = "installing"

    def __init__(self) -> None:
        super().__init__(Scripted("Anew."))
        self.going = asyncio.Event()
        self.fails = ""

    async def missing(self) -> ToInstall | None:
        return None if self.going.is_set() else ToInstall(("big==1",), "2 GB")

    async def install(self, report: Report) -> None:
        report(0.25, "Installing the big one")
        await self.going.wait()
        if self.fails:
            raise EnvironmentFailed(self.fails)


async def said(app: App) -> str:
    return "".join([delta.text async for delta in app.run(Turn(prompt="x"))])


async def installing(app: App) -> tuple[Installing, asyncio.Task[None]]:
    """A load that is installing its engine, beside what was loaded before."""
    loader = Installing()
    assert isinstance(loader, Installs)
    offer(app, loader)
    slot = app.kernel.slot()
    loading = asyncio.create_task(slot.load(Path("new.big"), "installing"))
    await app.until(lambda: "big one" in slot.state.note)
    return loader, loading


async def test_the_old_model_answers_until_the_new_engine_is_installed():
    async with running(model=Scripted("Old.")) as app:
        slot = app.kernel.slot()
        loader, loading = await installing(app)
        assert (slot.state.state, slot.state.fraction) == ("ready", 0.25)
        assert slot.state.info
        assert slot.state.info.name == "scripted"
        assert await said(app) == "Old."
        loader.going.set()
        await loading
        assert await said(app) == "Anew."
        assert (slot.state.state, slot.state.name, slot.state.note) == ("ready", "new", "")


async def test_a_cancelled_installation_keeps_the_old_model():
    async with running(model=Scripted("Old.")) as app:
        slot = app.kernel.slot()
        _, loading = await installing(app)
        await slot.cancel()
        with pytest.raises(LoadFailed):
            await loading
        assert (slot.state.state, slot.state.note) == ("ready", "")
        assert await said(app) == "Old."
        await asyncio.wait_for(slot.reload(), 5)
        assert slot.state.name == "scripted"
        assert await said(app) == "Old."


async def test_a_failed_installation_keeps_the_old_model_and_says_why():
    async with running(model=Scripted("Old.")) as app:
        slot = app.kernel.slot()
        loader, loading = await installing(app)
        loader.fails = "The disk is full: free some space, then try again."
        loader.going.set()
        with pytest.raises(LoadFailed, match="disk is full"):
            await loading
        assert slot.state.state == "ready"
        assert slot.state.error.startswith("new.big did not load. The disk is full")
        assert await said(app) == "Old."


async def test_a_newer_wish_ends_an_installation():
    async with running(model=Scripted("Old.")) as app:
        slot = app.kernel.slot()
        _, loading = await installing(app)
        await slot.load(PATH, "scripted")
        with pytest.raises(LoadFailed, match="Another choice"):
            await loading
        assert (slot.state.state, slot.state.name) == ("ready", "scripted")


async def test_an_old_engine_that_is_switched_off_meanwhile_leaves_the_new_one():
    async with running(model=Scripted("Old.")) as app:
        slot = app.kernel.slot()
        loader, loading = await installing(app)
        slot.owner = "older"
        await slot.leave("older", "Older was switched off.")
        assert (slot.model, slot.state.state) == (None, "loading")
        assert slot.why == "Older was switched off. It ran this model."
        asking = asyncio.create_task(said(app))
        loader.going.set()
        await loading
        assert await asking == "Anew."


async def test_of_two_extensions_that_are_switched_off_the_newer_comes_back_with_its_model():
    async with running(model=Scripted("Old.")) as app:
        slot = app.kernel.slot()
        _, loading = await installing(app)
        slot.owner = "older"
        await slot.leave("older", "Older was switched off.")
        await slot.leave("kernel", "Newer was switched off.")
        with pytest.raises(LoadFailed):
            await loading
        told = "Newer was switched off. new is loaded again when it is back."
        assert (slot.state.state, slot.state.error) == ("empty", told)


async def test_an_old_engine_that_dies_meanwhile_leaves_the_new_one():
    async with running(model=(old := Scripted("Old."))) as app:
        slot = app.kernel.slot()
        loader, loading = await installing(app)
        old.die("It was killed.")
        await app.until(lambda: slot.state.state == "loading" and "big one" in slot.state.note)
        loader.going.set()
        with pytest.raises(LoadFailed, match="Another choice"):
            await loading
        await app.until(lambda: slot.state.state == "ready")
        assert await said(app) == "Anew."


class Building(ScriptedLoader):
    """Its engine is built in a thread, which tells every step, and one more when it is given up."""

    id = label = "building"

    def __init__(self) -> None:
        super().__init__(Scripted("Anew."))
        self.half, self.go_on, self.ended = (threading.Event() for _ in range(3))

    async def missing(self) -> ToInstall | None:
        return None

    async def install(self, report: Report) -> None:
        await asyncio.to_thread(self._build, report)

    def _build(self, report: Report) -> None:
        for step in range(1, 21):
            report(step / 40, "Building")
        self.half.set()
        self.go_on.wait(20)
        report(1.0, "Built")
        self.ended.set()


async def building(app: App) -> tuple[Building, asyncio.Task[None]]:
    offer(app, loader := Building())
    loading = asyncio.create_task(app.kernel.slot().load(Path("new.big"), "building"))
    await asyncio.to_thread(loader.half.wait, 20)
    return loader, loading


async def test_an_engine_that_is_built_in_a_thread_tells_how_far_it_is():
    asyncio.get_running_loop().set_debug(True)  # What wakes somebody from a thread raises.
    async with running() as app:
        queue, dispose = app.kernel.bus.open(SlotChanged)
        loader, loading = await building(app)
        heard = await to_the_half(queue)
        assert heard[-1].note == "Building"
        loader.go_on.set()
        await loading
        heard += [queue.get_nowait() for _ in range(queue.qsize())]
        dispose()
        notes = [event.note for event in heard]
        assert "Built" in notes[notes.index("Building") :]
        assert heard[-1].state == "ready"


async def test_a_thread_that_goes_on_after_its_load_was_given_up_is_not_heard():
    async with running() as app:
        slot = app.kernel.slot()
        loader, loading = await building(app)
        await slot.cancel()
        with pytest.raises(LoadFailed):
            await loading
        loader.go_on.set()
        await asyncio.to_thread(loader.ended.wait, 20)
        await asyncio.sleep(0)
        assert (slot.state.state, slot.state.note) == ("empty", "")


# --- a model that is refused ----------------------------------------------------------------


class Refusing(ScriptedLoader):
    """Its files are all cut short; notes what was in the slot when it looked at one."""

    id = label = "refusing"

    def __init__(self, app: App) -> None:
        super().__init__(Scripted("Never."))
        self.slot, self.beside = app.kernel.slot(), list[object]()
        add = app.kernel.registry.add
        add(LOADERS, cast(Loader, self), "kernel", phase=Phase.LATE, rank=0, rewrites=False)

    async def open(self, path: Path, options: object, report: Report) -> Scripted:
        self.beside.append(self.slot.model)
        raise WorkerError(f"{path.name} is cut short. Download it again.")


REFUSED = "y.big did not load. y.big is cut short. Download it again."


async def test_a_refused_model_gives_its_place_back_and_both_are_told():
    async with running() as app:
        scripts = await app.load(Scripted("Old."))
        slot, loader = app.kernel.slot(), Refusing(app)
        for _ in range(2):
            with pytest.raises(LoadFailed, match="cut short"):
                await slot.load(Path("y.big"), "refusing")
            assert (slot.state.state, slot.state.name) == ("ready", "scripted")
            assert slot.state.error == f"{REFUSED} scripted is loaded again."
            assert await said(app) == "Old."
        assert loader.beside == [None, None], "never two models at once"
        assert scripts.loads == 3
        await slot.reload()
        assert (slot.state.state, slot.state.name, slot.state.error) == ("ready", "scripted", "")


async def test_a_file_that_is_refused_is_named_once():
    async with running() as app:
        loader = Refusing(app)

        async def refuses(path: Path, options: object, report: Report) -> Scripted:
            raise WorkerError(f"{path.name} cannot be loaded: it is cut short. Download it again.")

        loader.open = refuses
        with pytest.raises(LoadFailed, match=r"^y\.big did not load: it is cut short\. Download"):
            await app.kernel.slot().load(Path("y.big"), "refusing")


async def test_when_the_old_model_does_not_come_back_both_reasons_are_told():
    async with running() as app:
        scripts = await app.load(Scripted("Old."))
        slot, _ = app.kernel.slot(), Refusing(app)

        async def gone(*_: object) -> Scripted:
            raise OSError("The disk was pulled out.")

        scripts.open = gone  # type: ignore[method-assign]
        with pytest.raises(LoadFailed, match="cut short"):
            await slot.load(Path("y.big"), "refusing")
        assert slot.state.state == "failed"
        assert slot.state.error == f"{REFUSED} scripted did not load. The disk was pulled out."
        assert slot.model is None


async def test_a_newer_wish_wins_over_a_way_back():
    async with running() as app:
        scripts = await app.load(Scripted("Old."))
        slot, _ = app.kernel.slot(), Refusing(app)
        open_, back = scripts.open, asyncio.Event()

        async def slow(path: Path, options: object, report: Report) -> Scripted:
            back.set()
            await asyncio.sleep(3600)
            raise AssertionError

        scripts.open = slow
        loading = asyncio.create_task(slot.load(Path("y.big"), "refusing"))
        await back.wait()
        scripts.open = open_
        await slot.load(Path("newer"), "scripted")
        with pytest.raises(LoadFailed, match="Another choice"):
            await loading
        assert (slot.state.state, slot.state.name, slot.state.error) == ("ready", "newer", "")


async def test_a_loader_that_is_not_there_is_named_and_the_model_stays():
    async with running(model=Scripted("Old.")) as app:
        slot = app.kernel.slot()
        with pytest.raises(LoadFailed, match=r"no loader foo; running: scripted[.] Choose"):
            await slot.load(Path("y.big"), "foo")
        assert slot.state.state == "ready"
        assert await said(app) == "Old."


# --- an extension that goes and comes back -------------------------------------------------

GATE = """
import asyncio
from kernel.api import LOADERS
from kernel.testing import Scripted, ScriptedLoader

class Slow(ScriptedLoader):
    id = label = "slow"

    async def open(self, path, options, report):
        report(0.5, "Half way")
        while not self.gate.exists():
            await asyncio.sleep(0.005)
        return await super().open(path, options, report)

async def setup(ext):
    loader = Slow(Scripted("Hi."))
    loader.gate = ext.data_root / "gate"
    ext.add(LOADERS, loader)
"""


async def test_what_goes_with_its_extension_is_told_and_comes_back_with_it(tmp_path: Path):
    folder = tmp_path / "one_loader"
    folder.mkdir()
    (folder / "extension.toml").write_text(
        'id = "one_loader"\nname = "One"\nversion = "1"\nsummary = "Loads."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(GATE)
    async with running("one_loader", "models", folders=[tmp_path], data=tmp_path) as app:
        slot, page = app.kernel.slot(), app.page("/")
        loading = asyncio.create_task(slot.load(tmp_path / "polly.x", "slow"))
        await app.until(lambda: slot.state.note == "Half way")
        await app.kernel.changes.toggle("one_loader", on=False)
        with pytest.raises(LoadFailed):
            await loading
        told = "One was switched off. polly is loaded again when it is back."
        assert (slot.state.state, slot.state.error) == ("empty", told)
        await page.until(f'class="toast note"((?!</p>).)*{told}')
        with pytest.raises(NoModel, match="is loaded again when it is back"):
            await slot.generate(Request(prompt="x"))

        (tmp_path / "gate").touch()
        await app.kernel.changes.toggle("one_loader", on=True)
        await app.until(lambda: slot.state.state == "ready" and slot.state.name == "polly")

        # Loaded, it goes and comes back the same way; what a person unloads stays away.
        await app.kernel.changes.toggle("one_loader", on=False)
        assert slot.state.error == told
        await app.kernel.changes.toggle("one_loader", on=True)
        await app.until(lambda: slot.state.state == "ready")
        for state in ("failed", "empty"):
            await slot.load(tmp_path / "polly.x", "slow")
            await app.kernel.changes.toggle("one_loader", on=False)
            if state == "empty":
                await page.act("models.unload")
            else:
                with pytest.raises(LoadFailed):
                    await slot.load(tmp_path / "other.x", "slow")
            await app.kernel.changes.toggle("one_loader", on=True)
            await app.settled()
            await asyncio.sleep(0.05)
            assert slot.state.state == state


# --- what an engine prints, and a model that rests ---------------------------------------------


class Talkative(ScriptedLoader):
    """Its engine prints."""

    id = "talkative"

    def __init__(self, model: Scripted) -> None:
        super().__init__(model)
        self.fails = False

    async def open(self, path: Path, options: Options, report: Report) -> Scripted:
        assert isinstance(report, Telling)
        assert report.lines() == ()
        report.lines = lambda: ("first", "last")
        if self.fails:
            raise WorkerError("It failed.")
        return await super().open(path, options, report)


async def test_the_last_lines_of_an_engine_outlive_it():
    async with running() as app:
        loader, slot = Talkative(Scripted("Hi.")), app.kernel.slot()
        offer(app, loader)
        await slot.load(PATH, "talkative")
        assert slot.report.lines() == ("first", "last")
        await slot.unload()
        assert slot.report.lines() == ("first", "last")
        loader.fails = True
        with pytest.raises(LoadFailed):
            await slot.load(PATH, "talkative")
        assert slot.state.lines == slot.report.lines() == ("first", "last")
        await app.load(Scripted("Hi."))
        assert slot.report.lines() == ()


class Bursting(ScriptedLoader):
    """Says how far a step is in many small ones at once, and rests before the end."""

    id = label = "bursting"

    def __init__(self, model: Scripted) -> None:
        super().__init__(model)
        self.rests = asyncio.Event()

    async def open(self, path: Path, options: Options, report: Report) -> Scripted:
        report(0.0, "Checking")
        for step in range(1, 51):
            report(step / 100, "Reading")
        await self.rests.wait()
        return await super().open(path, options, report)


async def test_how_far_a_step_is_comes_in_few_words_and_the_last_of_them_counts():
    async with running() as app:
        loader, slot = Bursting(Scripted("Hi.")), app.kernel.slot()
        offer(app, loader)
        queue, dispose = app.kernel.bus.open(SlotChanged)
        loading = asyncio.create_task(slot.load(PATH, "bursting"))
        await app.until(lambda: slot.state.fraction == 0.5)
        heard = await to_the_half(queue)
        reading = [event.fraction for event in heard if event.note == "Reading"]
        assert reading == [0.01, 0.5], "the first at once, then the newest"
        assert "Checking" in [event.note for event in heard], "no step is left out"
        loader.rests.set()
        await loading
        heard += [queue.get_nowait() for _ in range(queue.qsize())]
        dispose()
        assert [event.state for event in heard].count("ready") == 1
        assert (heard[-2].note, heard[-1].state) == ("Half way", "ready")


async def test_a_turn_wakes_a_model_before_anybody_asks_it():
    async with running(model=Scripted("Hi.")) as app:
        slot = app.kernel.slot()
        await slot.unload()

        async def wake() -> None:
            slot.wake = None
            await slot.reload()

        slot.wake = wake
        seen: list[bool] = []

        async def look(turn: Turn) -> Turn:
            seen.append(slot.model is not None)
            return turn

        add = app.kernel.registry.add
        add(INPUT, look, "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
        assert await app.say() == "Hi."
        assert seen == [True]
