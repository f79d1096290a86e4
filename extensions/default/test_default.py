"""Two boxes; what they have in common with the notebook is tested in extensions/writing."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from extensions.writing.api import OUTPUT, TEXT, WRITING
from kernel.testing import App, Scripted, running


def said(app: App, box: str) -> str:
    """What a box says, once nothing is written into it any more."""
    [writing] = app.kernel.registry.values(WRITING)
    sheet = writing.library.known("story", box)
    return sheet.text if sheet and not sheet.busy else ""


async def test_it_writes_into_its_output_and_goes_on_from_there(tmp_path: Path):
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "story.txt").write_text("Once")
    model = Scripted(" upon", " a time.")
    async with running("default", model=model, data=tmp_path) as app:
        page = await app.open("/default/story")
        await page.until('label for="writing-text">Input</label>.*for="writing-output">Output<')
        await page.act("default.generate", name="story")
        await app.until(lambda: said(app, OUTPUT) == "Once upon")
        assert said(app, TEXT) == "Once"
        [writing] = app.kernel.registry.values(WRITING)
        output = writing.library.known("story", OUTPUT)
        assert output
        change = {"revision": output.revision, "at": 9, "cut": 0, "put": ",", "id": "comma"}
        await page.act("default.edit", name="story", box=OUTPUT, **change)
        await page.act("default.continue_", name="story")
        await app.until(lambda: said(app, OUTPUT) == "Once upon, a time.")
        assert [asked.prompt for asked in model.asked] == ["Once", "Once upon,"]
    assert (tmp_path / "default" / "story.txt").read_text() == "Once upon, a time."
    assert (tmp_path / "notebook" / "story.txt").read_text() == "Once"


@pytest.mark.parametrize(
    ("change", "then"),
    [
        ({"at": 9, "cut": 0, "put": " END"}, "Once again END"),
        ({"at": 0, "cut": 0, "put": "MINE "}, "MINE Once upon\n\nOnce again"),
        ({"at": 4, "cut": 5, "put": " more"}, "Once more\n\nOnce again"),
        ({"at": 0, "cut": 9, "put": ""}, "Once again"),
    ],
)
async def test_what_is_typed_into_the_output_before_the_first_word_stays(
    tmp_path: Path, change: dict[str, Any], then: str
):
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "story.txt").write_text("Once")
    gate = asyncio.Semaphore(2)  # A word, and the end.
    model = Scripted(" upon", " again", gate=gate)
    async with running("default", model=model, data=tmp_path) as app:
        page = await app.open("/default/story")
        await page.act("default.generate", name="story")
        await app.until(lambda: said(app, OUTPUT) == "Once upon")
        await page.act("default.generate", name="story")
        [writing] = app.kernel.registry.values(WRITING)
        output = writing.library.known("story", OUTPUT)
        assert output
        change = {**change, "revision": output.revision, "id": "mine"}
        await page.act("default.edit", name="story", box=OUTPUT, **change)
        for _ in range(2):
            gate.release()
        await app.until(lambda: said(app, OUTPUT) == then)


async def test_what_comes_of_the_first_text_is_found_again(tmp_path: Path):
    async with running("default", model=Scripted(" And so on."), data=tmp_path) as app:
        page = await app.open("/default")
        await page.until("<writing-now[^>]*>It had rained")
        await page.act("default.generate", name=(name := page.client.subject))
        await page.until(rf'aria-current="page"[^>]*>{name}<')
    [first], [output] = ([*(tmp_path / each).glob("*.txt")] for each in ("notebook", "default"))
    assert output.name == first.name
    assert output.read_text() == first.read_text() + " And so on."


async def test_of_two_who_continue_at_once_one_is_told_to_wait(tmp_path: Path):
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "story.txt").write_text("Once")
    os.utime(tmp_path / "notebook" / "story.txt", (1000, 1000))
    (tmp_path / "notebook" / "newer.txt").write_text("That is what the pages show.")
    gate = asyncio.Semaphore(0)
    async with running("default", model=Scripted(" upon", gate=gate), data=tmp_path) as app:
        pages = [app.page(), app.page()]
        await asyncio.gather(*(page.act("default.continue_", name="story") for page in pages))
        told = [page for page in pages if "This text is being written. Stop it" in page.html]
        for _ in range(2):  # A word, and the end.
            gate.release()
        await app.until(lambda: said(app, OUTPUT) == "Once upon")
        assert len(told) == 1


async def test_continue_alone_begins_with_the_input(tmp_path: Path):
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "story.txt").write_text("Once")
    async with running("default", model=Scripted(" upon"), data=tmp_path) as app:
        page = await app.open("/default/story")
        await page.act("default.continue_", name="story")
        await app.until(lambda: said(app, OUTPUT) == "Once upon")
