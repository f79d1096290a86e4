"""What is applied: kept with its model, dropped with it, and named on the command line."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from extensions.loras.test_loras import asked, load, served


async def test_it_stays_with_the_model_over_a_restart(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 0.5)])
        await app.kernel.slot().unload()
        assert loras.applied == ()
        await app.kernel.slot().reload()
        assert await asked(app, loader) == (("verse", 0.5),)
        await app.kernel.restart("loras")
        assert await asked(app, loader) == (("verse", 0.5),)
    async with served(data) as (app, loader, _):
        await load(app, "one.gguf")
        assert await asked(app, loader) == (("verse", 0.5),)
        assert [Path(path).name for path in loader.model.read] == ["verse.gguf"]


async def test_what_cannot_be_written_is_applied_all_the_same_and_told(data: Path):
    async with served(data) as (app, loader, _):
        await load(app, "one.gguf")
        page = await app.open("/models/loras")
        (data / "state" / "loras" / "applied.json").unlink()
        (data / "state" / "loras" / "applied.json").mkdir()
        await page.act("loras.apply", **{"use verse": "on"})
        await page.until("What is applied cannot be kept for the next start: .* directory")
        await page.until("Applied to <b>one</b>: verse")
        assert await asked(app, loader) == (("verse", 1.0),)
        assert not app.kernel.guard._history


async def test_another_model_drops_it_and_says_so(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 1.0)])
        page = await app.open("/models/loras")
        await load(app, "two.gguf")
        await page.until("verse belonged to one and is no longer applied.")
        assert await asked(app, loader) == ()
        await load(app, "one.gguf")
        assert await asked(app, loader) == ()


async def test_an_adapter_that_went_meanwhile_is_dropped_and_told(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 1.0), ("deep/er/bard", 0.5)])
        await app.kernel.slot().unload()
        (data / "loras" / "verse.gguf").unlink()
        page = await app.open("/models/loras")
        await app.kernel.slot().reload()
        await page.until("verse is not below loras/ and no longer applied.")
        assert await asked(app, loader) == (("deep/er/bard", 0.5),), "the others come back"
        await app.kernel.slot().unload()
        (data / "loras" / "deep" / "er" / "bard.gguf").write_bytes(b"GGUF")
        await app.kernel.slot().reload()
        await page.until("deep/er/bard cannot be applied again. bard.gguf cannot be loaded")
        assert await asked(app, loader) == ()


async def test_an_adapter_whose_file_goes_is_applied_no_more_and_told(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 1.0), ("deep/er/bard", 0.5)])
        page = await app.open("/models/loras")
        (data / "loras" / "verse.gguf").unlink()
        assert await asked(app, loader) == (("deep/er/bard", 0.5),)
        await page.until("verse is not below loras/ and no longer applied.")
        await page.until("Applied to <b>one</b>: deep/er/bard")
        shutil.rmtree(data / "loras")
        await page.act("loras.look")
        await page.until("deep/er/bard is not below loras/ and no longer applied.")
        await page.until("No adapter is applied to <b>one</b>.*There are no adapters yet")
        assert await asked(app, loader) == ()
        assert loader.loads == 1


async def test_a_model_that_comes_while_the_disk_is_asked_keeps_its_own(
    data: Path, monkeypatch: pytest.MonkeyPatch
):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 1.0)])
        (data / "loras" / "verse.gguf").unlink()
        applied = loras._applied
        thread = applied._ext.thread

        async def slow(work: Any, *arguments: Any) -> Any:
            with monkeypatch.context() as patch:
                patch.setattr(applied._ext, "thread", thread)
                await load(app, "two.gguf")
                await loras.apply([("deep/er/bard", 0.5)])
            return await thread(work, *arguments)

        monkeypatch.setattr(applied._ext, "thread", slow)
        assert not await applied.drop_gone()
        monkeypatch.setattr(applied._ext, "thread", thread)
        assert await asked(app, loader) == (("deep/er/bard", 0.5),)
        assert applied._kept.name == "two"


async def test_an_adapter_of_the_load_whose_file_goes_is_applied_no_more_and_told(data: Path):
    async with served(data, more=False) as (app, loader, loras):
        await load(app, "one.gguf", lora=["verse = 0.5"])
        page = await app.open("/models/loras")
        assert await asked(app, loader) == (("verse", 0.5),)
        (data / "loras" / "verse.gguf").unlink()
        assert await asked(app, loader) == (("verse", 0.0),)
        await page.until("verse is not below loras/ and no longer applied.")
        await page.until("No adapter is applied to <b>one</b>")
        await loras.apply([])
        assert await asked(app, loader) == (("verse", 0.0),)


async def test_an_adapter_that_is_switched_off_stays_off_when_its_file_goes(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf", lora=["verse = 0.5"])
        page = await app.open("/models/loras")
        await loras.apply([])
        (data / "loras" / "verse.gguf").unlink()
        await page.act("loras.look")
        await page.until("No adapter is applied to <b>one</b>")
        assert await asked(app, loader) == (("verse", 0.0),)
        await loras.apply([("deep/er/bard", 0.5)])
        assert await asked(app, loader) == (("deep/er/bard", 0.5),)
        assert "verse is not below" not in page.html, "it was applied no more before"
        await app.kernel.slot().unload()
        await app.kernel.slot().reload()
        assert await asked(app, loader) == (("deep/er/bard", 0.5),), "it comes back alone"


@pytest.mark.parametrize("name", ["verse", "deep/er/bard"])
async def test_it_stays_off_when_the_extension_begins_anew(data: Path, name: str):
    async with served(data, more=False) as (app, loader, loras):
        await load(app, "one.gguf", lora=[f"{name} = 0.5"])
        await loras.apply([])
        (data / "loras" / f"{name}.gguf").unlink()
        await app.kernel.restart("loras")
        assert await asked(app, loader) == ((name, 0.0),)


async def test_a_damaged_memory_is_begun_anew(data: Path, caplog: pytest.LogCaptureFixture):
    (data / "state" / "loras").mkdir(parents=True)
    (data / "state" / "loras" / "applied.json").write_text("{")
    async with served(data) as (app, loader, _):
        await load(app, "one.gguf")
        assert await asked(app, loader) == ()
    assert "Choose the adapters anew" in caplog.text


# --- the command line ---------------------------------------------------------------------------


async def test_the_command_line_applies_to_the_first_model(data: Path):
    async with served(data, lora=["verse", "deep/er/bard=0.5"]) as (app, loader, loras):
        await load(app, "one.gguf")
        assert await asked(app, loader) == (("verse", 1.0), ("deep/er/bard", 0.5))
        await loras.apply([])
        await app.kernel.slot().reload()
        assert await asked(app, loader) == ()


@pytest.mark.parametrize("resting", [False, True])
async def test_the_command_line_does_not_come_back_when_the_extension_does(
    data: Path, *, resting: bool
):
    async with served(data, lora=["verse"]) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("deep/er/bard", 1.0)])
        if resting:
            await app.kernel.slot().unload()
        await app.toggle("loras", on=False)
        await app.toggle("loras", on=True)
        if resting:
            await app.kernel.slot().reload()
        assert await asked(app, loader) == (("deep/er/bard", 1.0),)


async def test_it_loads_again_where_needed_and_says_what_is_wrong(data: Path):
    async with served(data, more=False, lora=["verse"]) as (app, loader, _):
        await load(app, "one.gguf")
        assert await asked(app, loader) == (("verse", 1.0),)
        assert loader.loads == 2
    async with served(data, lora=["nobody"]) as (app, loader, _):
        page = await app.open("/models/loras")
        await load(app, "two.gguf")
        await page.until("--lora: There is no adapter “nobody”")
        assert await asked(app, loader) == ()


# --- adapters that an engine reads for long -----------------------------------------------------


async def test_a_request_names_adapters_that_are_still_being_read(data: Path):
    async with served(data) as (app, loader, loras):
        loras._applied.moment = 0.01
        app.kernel.guard.budget = 0.5
        await load(app, "one.gguf")
        await loras.apply([("verse", 0.5)])
        await app.kernel.slot().unload()
        loader.quick = False
        await app.kernel.slot().reload()
        for _ in range(3):
            assert await asked(app, loader) == (("verse", 0.5),)
        loader.model.reads.set()
        await app.until(lambda: loras.applied)
        assert len(loader.model.read) == 1, "nobody's impatience broke the reading off"
        assert app.kernel.records["loras"].status == "running"


async def test_a_request_names_those_of_the_command_line_while_they_are_read(data: Path):
    async with served(data, lora=["verse"]) as (app, loader, loras):
        loras._applied.moment = 0.5
        loader.quick = False
        await load(app, "one.gguf")
        assert await asked(app, loader) == (("verse", 1.0),)
        loader.model.reads.set()
        await app.until(lambda: loras.applied)


async def test_a_page_opens_while_adapters_are_read(data: Path):
    async with served(data) as (app, loader, loras):
        loras._applied.moment = 0.01
        app.kernel.guard.budget = 0.5
        await load(app, "one.gguf")
        await loras.apply([("verse", 0.5)])
        await app.kernel.slot().unload()
        loader.quick = False
        await app.kernel.slot().reload()
        page = await app.open("/models/loras")
        await page.until("No adapter is applied to <b>one</b>")
        loader.model.reads.set()
        await page.until("Applied to <b>one</b>: verse")
        assert not app.kernel.guard._history


async def test_what_was_being_read_when_the_model_was_taken_away_comes_back_with_it(data: Path):
    async with served(data) as (app, loader, loras):
        await load(app, "one.gguf")
        await loras.apply([("verse", 0.5)])
        await app.kernel.slot().unload()
        loader.quick = False
        await app.kernel.slot().reload()
        await app.until(lambda: loras._applied._reading)
        await app.kernel.slot().unload()
        loader.quick = True
        await app.kernel.slot().reload()
        assert await asked(app, loader) == (("verse", 0.5),)


async def test_an_adapter_that_crashes_its_engine_does_not_come_back(data: Path):
    async with served(data) as (app, loader, loras):
        page = await app.open("/models/loras")
        await load(app, "one.gguf")
        await loras.apply([("verse", 0.5)])
        await app.kernel.slot().unload()
        loader.quick = False
        await app.kernel.slot().reload()
        await app.until(lambda: loras._applied._reading)
        loader.quick = True
        loader.model.die("The engine crashed.")
        await page.until("verse cannot be applied again. The engine crashed.")
        assert await asked(app, loader) == ()


async def test_the_command_line_waits_for_a_model_that_stays(data: Path):
    async with served(data, lora=["verse"]) as (app, loader, loras):
        loader.quick = False
        await load(app, "one.gguf")
        await app.until(lambda: loras._applied._reading)
        await app.kernel.slot().unload()
        loader.quick = True
        await app.kernel.slot().reload()
        assert await asked(app, loader) == (("verse", 1.0),)
