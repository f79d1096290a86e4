"""A model that nobody uses gives its memory back, and is there again when it is asked."""

import asyncio
import gc
from typing import Any

import pytest

from extensions.models.api import MODELS
from kernel.api import LoadFailed, NoModel, Turn, WorkerError
from kernel.testing import App, Scripted, running

from .rest import Rest


class Clock:
    """Minutes pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def resting(app: App, clock: Clock, **settings: Any) -> Rest:
    ext = app.extension("models")
    ext.configure({"idle_minutes": 5, **settings})
    return Rest(ext, clock)


async def test_after_idle_minutes_it_rests_and_a_message_wakes_it():
    async with running("models", model=Scripted("Hi.")) as app:
        rest, slot = resting(app, clock := Clock()), app.kernel.slot()
        page = await app.open("/")
        clock.now = 299
        await rest.look()
        assert slot.state.state == "ready"
        rest.used()
        clock.now = 598
        await rest.look()
        assert slot.state.state == "ready", "it was used meanwhile"
        clock.now = 599
        await rest.look()
        assert (slot.model, slot.state.state, rest.of) == (None, "empty", "scripted")
        assert await app.say() == "Hi."
        assert (slot.state.state, rest.of, slot.wake) == ("ready", "", None)
        page.close()


async def test_questions_are_use_as_replies_are():
    async with running("models") as app:
        await app.load_in_worker("Hi.")
        rest, slot = resting(app, clock := Clock()), app.kernel.slot()
        assert slot.model
        for clock.now in range(0, 1_000, 200):
            with pytest.raises(WorkerError, match="knows no call"):
                await slot.model.call("tokenize", text="a b")
            await rest.look()
        assert slot.state.state == "ready"
        clock.now += 300
        await rest.look()
        assert slot.state.state == "empty"


async def test_many_wake_it_once():
    async with running("models") as app:
        loader = await app.load(Scripted("Hi."))
        rest, slot = resting(app, clock := Clock()), app.kernel.slot()
        clock.now = 300
        await rest.look()
        reloads, reload = list[int](), slot.reload

        async def counted() -> None:
            reloads.append(1)
            await reload()

        slot.reload = counted
        assert await asyncio.gather(*(app.say() for _ in range(5))) == ["Hi."] * 5
        assert (loader.loads, reloads) == (2, [1])
        assert slot.state.state == "ready"


async def test_what_is_written_is_not_cut_off():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        rest, slot = resting(app, clock := Clock()), app.kernel.slot()
        model.busy = True  # type: ignore[attr-defined]
        clock.now = 10_000
        await rest.look()
        assert slot.state.state == "ready"
        model.busy = False  # type: ignore[attr-defined]
        await rest.look()
        assert slot.state.state == "ready", "it was busy a moment ago"
        clock.now = 10_300
        await rest.look()
        assert slot.state.state == "empty"


async def test_nothing_rests_where_nobody_wants_that():
    async with running("models", model=Scripted("Hi.")) as app:
        rest = resting(app, clock := Clock(), idle_minutes=0)
        clock.now = 1e9
        await rest.look()
        assert app.kernel.slot().state.state == "ready"


async def test_the_flag_goes_before_the_setting():
    async with running("models", model=Scripted("Hi.")) as app:
        rest = resting(app, clock := Clock(), idle_minutes=0)
        app.kernel.flags = {"models": {"idle-timeout": 1}}
        clock.now = 60
        await rest.look()
        assert app.kernel.slot().state.state == "empty"


async def test_it_is_not_woken_where_nobody_wants_that():
    async with running("models", model=Scripted("Hi.")) as app:
        rest, slot = resting(app, clock := Clock(), wake=False), app.kernel.slot()
        clock.now = 300
        await rest.look()
        await slot.settled()
        assert slot.model is None
        with pytest.raises(NoModel):
            await slot.generate(None)  # type: ignore[arg-type]


async def test_who_unloads_by_hand_or_loads_another_ends_the_rest():
    async with running("models", model=(model := Scripted("Hi."))) as app:
        ext, slot = app.extension("models"), app.kernel.slot()
        ext.configure({"idle_minutes": 5})
        rest = Rest(ext, clock := Clock())
        clock.now = 300
        await rest.look()
        rest.forget()
        assert (rest.of, slot.wake) == ("", None)
        await app.load(model)
        clock.now += 300
        rest.used()
        clock.now += 300
        await rest.look()
        assert slot.wake
        await app.load(model)
        rest.heard(slot.state)
        assert (rest.of, slot.wake) == ("", None)


async def test_what_a_program_unloads_while_it_rests_does_not_come_back():
    async with running("models", model=Scripted("Hi.")) as app:
        slot, [models] = app.kernel.slot(), app.kernel.registry.values(MODELS)
        page, rest = await app.open("/"), models._rest
        await app.configure("models", idle_minutes=5)
        await page.until("gives its memory back after 5 minutes")
        rest._clock = lambda: rest._used + 300
        await rest.look()
        assert slot.wake
        await models.unload()
        assert (rest.of, slot.wake) == ("", None)
        await app.say()
        assert slot.state.state == "empty"


async def test_one_that_does_not_come_back_says_so():
    async with running("models") as app:
        loader, slot = await app.load(Scripted("Hi.")), app.kernel.slot()
        rest = resting(app, clock := Clock())
        clock.now = 300
        await rest.look()

        async def fails(*_: Any) -> Any:
            raise LoadFailed("The file is gone.")

        loader.open = fails  # type: ignore[method-assign]
        reply = app.run(Turn(prompt="?"))
        _ = [delta async for delta in reply]
        assert reply.finish
        assert "The file is gone." in reply.finish.error
        assert (slot.state.state, slot.wake) == ("failed", None)


async def test_the_page_says_when_it_will_rest_and_that_it_does():
    async with running("models", model=Scripted("Hi.")) as app:
        page = await app.open("/")
        assert "models-idle" not in page.html
        await app.configure("models", idle_minutes=5)
        await page.until("gives its memory back after 5 minutes")
        all_ = [each for each in gc.get_objects() if type(each).__name__ == "Rest"]
        mine = app.extension("models")
        [rest] = [each for each in all_ if getattr(each, "_ext", None) is mine]
        rest._clock = Clock()
        rest._clock.now = 1e9
        await rest.look()
        await page.until('id="models-rests".*The next message loads it again')
        await page.until("<b>scripted</b><span>rests</span>")
        page.html = ""
        assert await app.say() == "Hi."
        await page.until('data-state="ready"')
        await page.act("models.unload")
        await page.until("<b>No model</b>")
