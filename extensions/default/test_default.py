"""Two boxes; what they have in common with the notebook is tested in extensions/writing."""

from pathlib import Path

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


async def test_continue_alone_begins_with_the_input(tmp_path: Path):
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "story.txt").write_text("Once")
    async with running("default", model=Scripted(" upon"), data=tmp_path) as app:
        page = await app.open("/default/story")
        await page.act("default.continue_", name="story")
        await app.until(lambda: said(app, OUTPUT) == "Once upon")
