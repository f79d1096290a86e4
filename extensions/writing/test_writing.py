"""Texts as pages and files see them: what is typed, generated, saved, moved and brought back."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from extensions.writing.api import WRITING, Library
from extensions.writing.library import STARTER
from kernel.api import (
    INPUT,
    OUTPUT,
    PANELS,
    Delta,
    Extension,
    Phase,
    Refused,
    Sampling,
    Turn,
)
from kernel.testing import App, Page, Scripted, running


def library(app: App) -> Library:
    [writing] = app.kernel.registry.values(WRITING)
    return writing.library


def text(app: App, name: str, box: str = "text") -> str:
    sheet = library(app).known(name, box)
    assert sheet
    return sheet.text


def texts(data: Path, **files: str) -> Path:
    for number, (name, words) in enumerate(files.items()):
        file = data / "notebook" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(words)
        os.utime(file, (1000 + number, 1000 + number))
    return data


async def typed(page: Page, app: App, name: str, put: str, at: int = -1, **more: Any) -> None:
    sheet = library(app).known(name, more.get("box", "text"))
    assert sheet
    at = len(sheet.text) if at < 0 else at
    given = {"revision": sheet.revision, "at": at, "cut": 0, "put": put, "id": f"{put}{at}"}
    await page.act(f"{page.client.tab}.edit", name=name, **{**given, **more})


async def written(app: App, name: str, box: str = "text") -> None:
    """Until nothing is written any more."""
    await app.until(lambda: not (sheet := library(app).known(name, box)) or not sheet.busy)


async def saved(app: App, file: Path, words: str) -> None:
    await app.until(lambda: file.is_file() and file.read_bytes() == words.encode())


class Slow:
    """Answers a first question last."""

    def __init__(self, real: Any) -> None:
        self.real, self.asked, self.gate = real, list[Any](), asyncio.Event()

    async def __call__(self, *said: Any) -> Any:
        self.asked.append(said)
        first, found = len(self.asked) == 1, await self.real(*said)
        if first:
            await self.gate.wait()
        return found


@pytest.mark.parametrize("view", ["", "markdown"])
async def test_what_is_made_of_an_older_text_is_not_shown_over_that_of_a_newer(
    tmp_path: Path, view: str
):
    data = texts(tmp_path, story="Once")
    async with running("notebook", data=data) as app:
        page = await app.open("/notebook/story")
        panels = [
            each.value for each in app.kernel.registry.entries(PANELS) if each.owner == "notebook"
        ]
        [panel] = [each for each in panels if each.region == "tab"]
        pages: Any = panel.context
        pages = pages.__self__
        await page.until("<writing-now[^>]*>Once</writing-now>")
        await app.until(lambda: not pages._redrawing)
        if view:
            await page.act("notebook.show", name="story", view=view)
            pages.views.context = slow = Slow(pages.views.context)
            first = asyncio.create_task(pages.show(page.client, "story"))
        else:

            async def count(text: str) -> str:
                return f"{len(text)} letters"

            pages._asking.count = slow = Slow(count)
            first = asyncio.create_task(pages._redraw("story"))
        await app.until(lambda: bool(slow.asked))
        await typed(page, app, "story", " upon")
        await (pages.show(page.client, "story") if view else pages._redraw("story"))
        assert page.html
        page.html = ""
        slow.gate.set()
        await first
        await asyncio.sleep(0)
        assert "Once" not in page.html if view else "4 letters" not in page.html


async def test_the_model_goes_on_and_it_can_be_taken_back(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    model = Scripted(" upon a time.", " more.")
    async with running("notebook", model=model, data=data) as app:
        page = await app.open("/notebook/story")
        await page.until("<writing-now[^>]*>Once</writing-now>")
        await page.act("notebook.generate", name="story")
        await written(app, "story")
        assert text(app, "story") == "Once upon a time."
        [asked] = model.asked
        assert (asked.prompt, asked.messages) == ("Once", None)
        await saved(app, data / "notebook" / "story.txt", "Once upon a time.")
        await page.act("notebook.regenerate", name="story")
        await written(app, "story")
        assert text(app, "story") == "Once more."
        assert model.asked[1].prompt == "Once"
        await page.act("notebook.undo", name="story")
        assert text(app, "story") == "Once"
        await page.act("notebook.undo", name="story")
        await page.until("Nothing was generated in this text")


async def test_it_is_written_without_a_page_and_several_pages_agree(tmp_path: Path):
    gate = asyncio.Semaphore(0)
    data = texts(tmp_path, story="Once")
    async with running("notebook", model=Scripted(" upon a time.", gate=gate), data=data) as app:
        page, other = [await app.open("/notebook/story") for _ in range(2)]
        await page.act("notebook.generate", name="story")
        for each in (page, other):
            await each.until('id="writing-stop"')
        gate.release()
        for each in (page, other):
            await each.until(r'<writing-change[^>]*data-at="4" data-cut="0"> upon</writing-change>')
        await other.act("notebook.generate", name="story")
        await other.until("This text is being written")
        page.close()
        other.close()
        for _ in range(5):
            gate.release()
        await written(app, "story")
        again = await app.open("/notebook/story")
        await again.until("<writing-now[^>]*>Once upon a time.</writing-now>")
        await again.until('id="writing-generate"')


async def test_typing_while_it_is_written_is_neither_lost_nor_mixed_up(tmp_path: Path):
    gate = asyncio.Semaphore(0)
    data = texts(tmp_path, story="Once")
    async with running("notebook", model=Scripted(" upon a time.", gate=gate), data=data) as app:
        page, other = [await app.open("/notebook/story") for _ in range(2)]
        old = library(app).known("story")
        assert old
        revision = old.revision
        await page.act("notebook.generate", name="story")
        gate.release()
        await app.until(lambda: text(app, "story") == "Once upon")
        # Typed before the page saw these words: at the end of what it knew, and at the beginning.
        await typed(page, app, "story", "\n\nThe end.", at=4, revision=revision)
        await typed(other, app, "story", "Title\n", at=0, revision=revision)
        await other.until("<writing-now[^>]*>Title\nOnce upon\n\nThe end.</writing-now>")
        for _ in range(5):
            gate.release()
        await written(app, "story")
        assert text(app, "story") == "Title\nOnce upon a time.\n\nThe end."
        await page.act("notebook.undo", name="story")
        assert text(app, "story") == "Title\nOnce\n\nThe end."


async def test_a_change_that_arrives_twice_or_too_late_is_not_made_twice(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    async with running("notebook", data=data) as app:
        page = await app.open("/notebook/story")
        await page.until("writing-now")
        sheet = library(app).known("story")
        assert sheet
        given = {"revision": sheet.revision, "id": "one"}
        await typed(page, app, "story", "!", **given)
        await page.until('<writing-done|data-taken="one"')
        await typed(page, app, "story", "!", **given)
        await page.until('<writing-now[^>]*data-taken="one"')
        assert sheet.text == "Once!"
        await typed(page, app, "story", "?", revision=17, id="two")
        await page.until('<writing-now[^>]*data-refused="two"[^>]*>Once!</writing-now>')
        assert sheet.text == "Once!"


async def test_a_page_hears_that_its_change_is_refused_and_of_a_text_of_any_length(tmp_path: Path):
    data = texts(tmp_path, story="x" * 1_999_999)
    async with running("notebook", data=data) as app:
        page = await app.open("/notebook/story")
        await page.until("writing-now")
        await typed(page, app, "story", "yy", id="one")
        await page.until("at most 2,000,000 characters")
        await page.until('id="writing-news-text"[^>]*><writing-stuck data-id="one">')
        await typed(page, app, "story", "y", revision=17, id="two")
        await page.until('<writing-now[^>]*data-refused="two"')
        await typed(page, app, "story", "y", id="three")
        await page.until("<writing-done")


async def test_a_text_that_the_model_made_too_long_can_be_shortened_letter_by_letter(
    tmp_path: Path,
):
    data = texts(tmp_path, story="x" * 2_000_000)
    async with running("notebook", model=Scripted("yyy"), data=data) as app:
        page = await app.open("/notebook/story")
        await page.act("notebook.generate", name="story")
        await written(app, "story")
        await typed(page, app, "story", "", cut=1, at=0, id="one")
        await page.until("<writing-done")
        assert len(text(app, "story")) == 2_000_002


async def test_what_a_modifier_replaces_is_replaced(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    async with running("notebook", model=Scripted(" upon a time."), data=data) as app:

        async def shout(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
            said = ""
            async for delta in deltas:
                said += delta.text
                yield delta
            yield Delta(said.upper(), replace=True)

        app.kernel.registry.add(OUTPUT, shout, "kernel", phase=Phase.NORMAL, rank=0, rewrites=True)
        page = await app.open("/notebook/story")
        await page.act("notebook.generate", name="story")
        await written(app, "story")
        assert text(app, "story") == "Once UPON A TIME."
        await page.act("notebook.undo", name="story")
        assert text(app, "story") == "Once"


async def test_stop_keeps_what_was_said(tmp_path: Path):
    gate = asyncio.Semaphore(0)
    data = texts(tmp_path, story="Once")
    async with running("notebook", model=Scripted(" upon a time.", gate=gate), data=data) as app:
        page = await app.open("/notebook/story")
        await page.act("notebook.generate", name="story")
        gate.release()
        await app.until(lambda: text(app, "story") == "Once upon")
        await page.act("notebook.stop", name="story")
        await written(app, "story")
        assert text(app, "story") == "Once upon"


async def test_without_a_model_the_text_stays_and_one_click_tries_again(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    async with running("notebook", data=data) as app:
        page = await app.open("/notebook/story")
        await page.act("notebook.generate", name="story")
        await page.until("No model is loaded.*notebook.generate.*Try again")
        assert text(app, "story") == "Once"
        await app.load(Scripted(" upon."))
        await page.act("notebook.generate", name="story")
        await written(app, "story")
        assert text(app, "story") == "Once upon."
        assert not library(app).known("story").error  # type: ignore[union-attr]


async def test_what_was_generated_stays_until_there_is_a_word_of_the_next(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    model = Scripted(" upon a time.", " more.", " more.")
    async with running("notebook", model=model, data=data) as app:
        page = await app.open("/notebook/story")
        await page.act("notebook.generate", name="story")
        await written(app, "story")
        await app.kernel.slot().unload()
        for _ in range(2):
            page.html = ""
            await page.act("notebook.regenerate", name="story")
            await page.until("No model is loaded.*notebook.regenerate.*Try again")
            assert text(app, "story") == "Once upon a time."
        model.gate = asyncio.Semaphore(0)
        await app.load(model)
        await page.act("notebook.regenerate", name="story")
        await app.until(lambda: len(model.asked) == 2)
        await page.act("notebook.stop", name="story")
        await written(app, "story")
        assert text(app, "story") == "Once upon a time."
        model.gate.release()
        await page.act("notebook.regenerate", name="story")
        await app.until(lambda: text(app, "story") == "Once more.")
        assert [asked.prompt for asked in model.asked] == ["Once"] * 3


async def test_what_came_out_stays_until_there_is_a_word_of_the_next(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    async with running("default", model=Scripted(" upon a time."), data=data) as app:
        page = await app.open("/default/story")
        await page.act("default.generate", name="story")
        await written(app, "story", "output")
        await app.kernel.slot().unload()
        for action in ("generate", "continue_"):
            await page.act(f"default.{action}", name="story")
            await page.until(f"No model is loaded.*default.{action}.*Try again")
            assert text(app, "story", "output") == "Once upon a time."


async def test_an_engine_that_dies_is_told_beside_the_text(tmp_path: Path):
    gate = asyncio.Semaphore(0)
    data = texts(tmp_path, story="Once")
    model = Scripted(" upon a time.", gate=gate)
    async with running("notebook", model=model, data=data) as app:
        page = await app.open("/notebook/story")
        await page.act("notebook.generate", name="story")
        gate.release()
        await app.until(lambda: text(app, "story") == "Once upon")
        model.die("It ran out of memory.")
        await page.until('role="alert">.*It ran out of memory')
        assert text(app, "story") == "Once upon"


async def test_the_parameters_are_those_of_a_page(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    model = Scripted(" upon.")
    async with running("notebook", model=model, data=data) as app:

        async def fill(turn: Turn) -> Turn:
            assert turn.client == page.client.id
            return Turn(prompt=turn.prompt, sampling=Sampling(temperature=0.5))

        page = await app.open("/notebook/story")
        app.kernel.registry.add(INPUT, fill, "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
        await page.act("notebook.generate", name="story")
        await written(app, "story")
        assert model.asked[0].sampling.temperature == 0.5


class Weighing(Scripted):
    """Says what may come next, and notes with which parameters it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.samplings = list[dict[str, Any]]()

    async def call(self, name: str, **data: Any) -> Any:
        if name != "logits":
            return await super().call(name, **data)
        self.samplings.append(data["sampling"])
        return {"tokens": [{"id": 1, "bytes": b" upon", "before": 0.5, "after": 1, "cut_by": ""}]}


async def test_what_may_come_next_is_said_whatever_a_modifier_of_the_turn_does(tmp_path: Path):
    data, model = texts(tmp_path, story="Once"), Weighing()
    async with running("notebook", model=model, data=data) as app:

        async def fails(turn: Turn) -> Turn:
            raise ValueError("Another extension's.")

        async def lies(turn: Turn) -> Any:
            return "no turn"

        async def fills(turn: Turn) -> Turn:
            return Turn(prompt=turn.prompt, sampling=Sampling(temperature=0.5))

        for rank, each in enumerate((fails, lies, fills)):
            app.kernel.registry.add(
                INPUT, each, "kernel", phase=Phase.NORMAL, rank=rank, rewrites=False
            )
        page = await app.open("/notebook/story")
        await page.act("notebook.show", name="story", view="logits")
        await page.act("notebook.logits", name="story")
        await page.until("writing-choices.* upon")
        assert model.samplings == [{"temperature": 0.5}]
        assert app.kernel.trouble == {}


# --- files ------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", ["notebook", "default"])
async def test_a_first_text_is_a_sentence_and_becomes_a_file_when_somebody_writes(
    tmp_path: Path, tab: str
):
    async with running(tab, data=tmp_path) as app:
        page = await app.open(f"/{tab}")
        await page.until("<writing-now[^>]*>It had rained")
        assert "any more" not in page.html
        await app.open(f"/{tab}")
        assert not list(tmp_path.rglob("*.txt"))  # noqa: ASYNC240
        name = await library(app).newest()
        await typed(page, app, name, " So.", len(STARTER))
        file = tmp_path / "notebook" / f"{name}.txt"
        await app.until(lambda: file.exists() and file.read_text() == f"{STARTER} So.")
        await page.until(rf'aria-current="page"[^>]*>{name}<')
        await page.act(f"{tab}.new")
        await page.until(rf'aria-current="page"[^>]*>(?!{name}<)20')


async def test_a_first_text_can_be_renamed_and_deleted_before_it_was_a_file(tmp_path: Path):
    async with running("notebook", data=tmp_path) as app:
        page, texts_of = await app.open("/notebook"), library(app)
        await page.act("notebook.rename", name=await texts_of.newest(), title="Rain")
        assert (tmp_path / "notebook" / "Rain.txt").read_text() == STARTER
        await page.act("notebook.delete", name="Rain")
        assert await texts_of.newest() != "Rain"


async def test_old_files_are_listed_newest_first_and_kept_where_they_are(tmp_path: Path):
    data = texts(tmp_path / "data", mine="Mine")
    for folder, name in (("prompts", "QA"), ("prompts", "mine"), ("logs/notebook", "20240101")):
        file = data / folder / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{folder} {name}\r\nsecond")
        os.utime(file, (2000 + len(name), 2000 + len(name)))
    async with running("notebook", data=data) as app:
        entries = await library(app).list()
        assert [e.name for e in entries] == ["20240101", "mine (prompts)", "QA", "mine"]
        page = await app.open("/notebook/QA")
        await page.until("<writing-now[^>]*>prompts QA\nsecond</writing-now>")
        await typed(page, app, "QA", "!")
        await saved(app, data / "prompts" / "QA.txt", "prompts QA\nsecond!")
        assert [*(data / "notebook").glob("*.txt")] == [data / "notebook" / "mine.txt"]


async def test_rename_delete_and_bring_back(tmp_path: Path):
    data = texts(tmp_path, old="Old", story="Once")
    async with running("notebook", "default", data=data) as app:
        page, other = await app.open("/notebook/story"), await app.open("/default/story")
        await typed(other, app, "story", "Out", box="output")
        await page.act("notebook.rename", name="story", title="old")
        await page.until("There is a text called “old” already")
        await page.act("notebook.rename", name="story", title="../tale")
        await page.until("cannot be the name of a file")
        await page.act("notebook.rename", name="story", title="Tale: 1".replace(":", ""))
        await other.until('data-path="/default/Tale%201"')
        assert page.client.subject == other.client.subject == "Tale 1"
        await typed(page, app, "Tale 1", "!")
        await saved(app, data / "notebook" / "Tale 1.txt", "Once!")
        await saved(app, data / "default" / "Tale 1.txt", "Out")
        assert not (data / "notebook" / "story.txt").exists()

        page.html = ""
        await page.act("notebook.delete", name="Tale 1")
        await page.until("“Tale 1” was deleted")
        await page.until("Undo</button>")
        await app.until(lambda: page.client.subject == "old")
        assert not [*data.glob("*/Tale 1.txt")]
        [(id, name)] = library(app).trash.list()
        assert name == "Tale 1"
        await page.act("notebook.undelete", id=id)
        assert (data / "notebook" / "Tale 1.txt").read_text() == "Once!"
        assert (data / "default" / "Tale 1.txt").read_text() == "Out"
        assert page.client.subject == "Tale 1"
        assert not library(app).trash.list()
        await page.act("notebook.undelete", id="../../notebook")
        await page.until("not among the deleted texts any more")


async def test_a_name_that_no_file_may_be_given_comes_back_as_one_near_to_it(tmp_path: Path):
    """Such files come from other systems and other programs."""
    data = texts(tmp_path, **{"What <now>": "Words.", "???": "More."})
    async with running("notebook", model=Scripted(), data=data) as app:
        page = await app.open("/notebook")
        for name, back in (("What <now>", "What now"), ("???", "Text")):
            await page.act("notebook.delete", name=name)
            [(id, _)] = library(app).trash.list()
            await page.act("notebook.undelete", id=id)
            await page.until(f'id="writing-title">{back}<')
            assert not library(app).trash.list()
        assert (data / "notebook" / "What now.txt").read_text() == "Words."
        assert (data / "notebook" / "Text.txt").read_text() == "More."


async def test_what_is_being_written_is_not_deleted(tmp_path: Path):
    gate = asyncio.Semaphore(0)
    data = texts(tmp_path, story="Once")
    async with running("notebook", model=Scripted(" upon.", gate=gate), data=data) as app:
        page = await app.open("/notebook/story")
        await page.act("notebook.generate", name="story")
        await page.act("notebook.delete", name="story")
        await page.until("This text is being written. Stop it first.")
        assert (data / "notebook" / "story.txt").exists()
        await page.act("notebook.stop", name="story")
        await written(app, "story")


async def test_what_another_program_wrote_is_read_or_kept(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    file = data / "notebook" / "story.txt"
    async with running("notebook", data=data) as app:
        page = await app.open("/notebook/story")
        await page.until("writing-now")
        file.write_text("Theirs")
        os.utime(file, (9_000, 9_000))
        again = await app.open("/notebook/story")
        await again.until("<writing-now[^>]*>Theirs</writing-now>")
        file.write_text("Theirs, later")
        os.utime(file, (10_000, 10_000))
        await typed(page, app, "story", " and mine")
        await saved(app, file, "Theirs and mine")
        [(id, _)] = library(app).trash.list()
        assert (data / "notebook" / "trash" / id / "text.txt").read_text() == "Theirs, later"


async def test_the_words_of_a_file_that_goes_stay_and_one_that_comes_is_kept(tmp_path: Path):
    """As of a disk that is taken out, and of files that a program brings along."""
    data = texts(tmp_path, story="Once")
    file, output = data / "notebook" / "story.txt", data / "default" / "story.txt"
    async with running("default", data=data) as app:
        page = await app.open("/default/story")
        await page.until("writing-now")
        file.rename(away := data / "away.txt")
        again = await app.open("/default/story")
        await again.until("<writing-now[^>]*>Once</writing-now>")
        away.rename(file)
        output.parent.mkdir()
        output.write_text("Brought")
        await typed(page, app, "story", " more")
        await typed(page, app, "story", "Mine", box="output")
        await saved(app, file, "Once more")
        await saved(app, output, "Mine")
        kept = [each.read_text() for each in (data / "notebook" / "trash").rglob("*.txt")]
        assert sorted(kept) == ["Brought", "Once"]


async def test_a_full_disk_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = texts(tmp_path, story="Once")
    full = True

    def writing(path: Path, words: bytes) -> None:
        if full:
            raise OSError(28, "No space left on device")
        path.write_bytes(words)

    async with running("notebook", data=data) as app:
        module = sys.modules["extensions.writing.library"]
        monkeypatch.setattr(module, "write", writing)
        monkeypatch.setattr(module, "AGAIN", 0.02)
        page = await app.open("/notebook/story")
        await page.until("writing-now")
        await typed(page, app, "story", "!")
        await page.until("cannot be saved: No space left on device. Its words stay here")
        full = False
        page.html = ""
        await page.until('id="writing-state"((?!cannot be saved).)*</footer>')
        await saved(app, data / "notebook" / "story.txt", "Once!")


async def test_what_was_typed_last_is_saved_when_it_stops(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    async with running("notebook", data=data) as app:
        page = await app.open("/notebook/story")
        await page.until("writing-now")
        library(app).known("story")
        await typed(page, app, "story", "!")
    assert (data / "notebook" / "story.txt").read_text() == "Once!"


async def test_an_unknown_text_says_so(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    async with running("notebook", data=data) as app:
        page = await app.open("/notebook/nothing")
        await page.until("There is no text “nothing”")
        await page.act("notebook.generate", name="nothing")
        await page.until("There is no text “nothing” any more")
        assert (await app.fetch("/notebook/story")).status == 200


@pytest.mark.parametrize(
    ("address", "name", "words"),
    [("a%20b", "a b", "Blank."), ("a%2520b", "a%20b", "Per cent."), ("%C3%A9", "é", "Accent.")],
)
async def test_an_address_means_one_text(tmp_path: Path, address: str, name: str, words: str):
    data = texts(tmp_path, **{"a b": "Blank.", "a%20b": "Per cent.", "é": "Accent."})
    async with running("notebook", data=data) as app:
        assert words in (await app.fetch(f"/notebook/{address}")).text
        page = await app.open(f"/notebook/{address}")
        await page.until(words)
        assert page.client.subject == name


# --- the palette --------------------------------------------------------------------------


async def test_the_palette_begins_texts_and_leads_to_them(tmp_path: Path):
    data = texts(tmp_path, **{f"Tale <{n}>": "Words." for n in range(12)})
    async with running("commands", "chat", "notebook", "default", data=data) as app:
        page = await app.open("/chat")
        await page.act("commands.show")
        shown = await page.until('id="commands-list".*')
        link = '<a href="/notebook/Tale%20%3C11%3E">Go to Tale &lt;11&gt; in Notebook</a>'
        assert link in shown
        assert "New text in Default" in shown
        assert "/notebook/Tale%20%3C1%3E" not in shown, "the newest alone"
        page.html = ""
        await page.act("notebook.new")
        await page.until('id="writing-title">20')
        assert page.client.tab == "notebook"
        assert quote(page.client.path) in await page.until('id="page-go"[^>]*data-path="[^"]*')
        page.html = ""
        await page.act("commands.show")
        assert f'"{page.client.path}"' not in await page.until('id="commands-list".*')
        await page.act("commands.keys")
        keys = await page.until('id="commands-keys-list".*')
        assert "Generate" in keys[keys.index('aria-label="Notebook"') :]


# --- between two looks ------------------------------------------------------------------


async def test_what_is_typed_while_the_file_is_read_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = texts(tmp_path, story="Once")
    async with running("notebook", data=data) as app:
        page, texts_of = await app.open("/notebook/story"), library(app)
        read = texts_of._read

        async def slow(path: Path) -> tuple[str, int]:
            found = await read(path)
            await typed(page, app, "story", " upon a time.")
            return found

        file = data / "notebook" / "story.txt"
        file.write_text("Never")
        os.utime(file, (9_000, 9_000))
        monkeypatch.setattr(texts_of, "_read", slow)
        await texts_of.sheet("story")
        assert text(app, "story") == "Once upon a time."
        await saved(app, file, "Once upon a time.")
        copies = [f.read_text() for f in (data / "notebook" / "trash").rglob("*.txt")]
        assert copies == ["Never"], "the other program's words are among the deleted ones"


async def test_its_own_save_is_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = texts(tmp_path, story="Once")
    async with running("notebook", data=data) as app:
        page, texts_of = await app.open("/notebook/story"), library(app)
        began, gate = asyncio.Event(), asyncio.Event()
        put = texts_of._written

        async def slow(path: Path, data: bytes) -> None:
            await put(path, data)
            began.set()
            await gate.wait()

        monkeypatch.setattr(texts_of, "_written", slow)
        await typed(page, app, "story", " upon")
        await began.wait()
        looking = asyncio.create_task(texts_of.sheet("story"))
        await asyncio.sleep(0.05)  # It may look at the file: it is not to believe it.
        await typed(page, app, "story", " a time.")
        gate.set()
        await looking
        assert text(app, "story") == "Once upon a time."
        await saved(app, data / "notebook" / "story.txt", "Once upon a time.")


async def test_the_last_words_are_kept_when_it_ends_in_the_middle_of_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = texts(tmp_path, story="Once")
    file = data / "notebook" / "story.txt"
    async with running("notebook", data=data) as app:
        page, texts_of = await app.open("/notebook/story"), library(app)
        put, began = texts_of._written, asyncio.Event()

        async def stuck(path: Path, data: bytes) -> None:
            monkeypatch.setattr(texts_of, "_written", put)
            began.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(texts_of, "_written", stuck)
        await typed(page, app, "story", " upon a time.")
        await began.wait()
    assert file.read_text() == "Once upon a time."


async def test_a_page_that_comes_back_shows_the_sub_tab_that_it_showed(tmp_path: Path):
    async with running("notebook", data=texts(tmp_path, story="Once", other="Twice")) as app:
        page = await app.open("/notebook/story")
        await page.act("notebook.show", name="story", view="markdown")
        await page.until('data-view="markdown"')
        page.close()
        await asyncio.sleep(0)
        for path, view in (("other", "raw"), ("story", "markdown"), ("story", "raw")):
            page = await app.open(f"/notebook/{path}")
            await page.until(f'data-view="{view}"')


async def test_texts_that_begin_or_come_back_at_once_are_two(tmp_path: Path):
    async with running("notebook", data=texts(tmp_path, story="Once")) as app:
        texts_of, folder = library(app), tmp_path / "notebook"
        names = await asyncio.gather(texts_of.new("first", "t"), texts_of.new("second", "t"))
        said = {(folder / f"{name}.txt").read_text() for name in names}
        assert said == {"first", "second"}
        kept = [await texts_of.delete(name) for name in names]
        again = await texts_of.new("third", names[0])
        kept.append(await texts_of.delete(again))
        back = await asyncio.gather(*map(texts_of.undelete, kept))
        assert {(folder / f"{name}.txt").read_text() for name in back} == {*said, "third"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "gb18030"])
async def test_a_file_of_another_encoding_is_read_and_kept_before_it_is_written(
    tmp_path: Path, encoding: str
):
    words = "中文" if encoding == "gb18030" else "Grüße aus Köln"
    file = texts(tmp_path, alt="") / "notebook" / "alt.txt"
    file.write_bytes(old := words.encode(encoding))
    async with running("notebook", data=tmp_path) as app:
        page = await app.open("/notebook/alt")
        shown = text(app, "alt")
        assert (shown == words) == (encoding != "gb18030"), "what it is nobody can know"
        await typed(page, app, "alt", "!")
        await saved(app, file, shown + "!")
        await typed(page, app, "alt", "?")
        await saved(app, file, shown + "!?")
    kept = [each for each in (tmp_path / "notebook" / "trash").rglob("*") if each.is_file()]
    assert [each.read_bytes() for each in kept] == [old]


async def test_a_file_of_another_encoding_is_kept_also_where_it_is_renamed_first(tmp_path: Path):
    file = texts(tmp_path, alt="") / "notebook" / "alt.txt"
    file.write_bytes(old := "中文".encode("gb18030"))
    async with running("notebook", data=tmp_path) as app:
        page = await app.open("/notebook/alt")
        await library(app).rename("alt", "new")
        await page.act("notebook.open", name="new")
        await typed(page, app, "new", "!")
        await saved(app, file.with_name("new.txt"), text(app, "new"))
    kept = [each for each in (tmp_path / "notebook" / "trash").rglob("*") if each.is_file()]
    assert [each.read_bytes() for each in kept] == [old]


async def test_a_text_that_is_too_long_for_a_box_is_not_cut(tmp_path: Path):
    file = texts(tmp_path, novel="x" * 2_000_001) / "notebook" / "novel.txt"
    async with running("notebook", data=tmp_path) as app:
        with pytest.raises(Refused, match="too many for a text box"):
            await library(app).sheet("novel")
    assert file.stat().st_size == 2_000_001


async def test_a_version_of_another_program_is_kept_once_however_often_saving_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = texts(tmp_path, story="Once") / "notebook" / "story.txt"
    async with running("notebook", data=tmp_path) as app:
        page, module = await app.open("/notebook/story"), sys.modules["extensions.writing.library"]
        tries = list[Path]()

        def full(path: Path, data: bytes) -> None:
            tries.append(path)
            raise OSError(28, "No space left on device")

        file.write_text("another program's")
        with monkeypatch.context() as patch:
            patch.setattr(module, "write", full)
            patch.setattr(module, "AGAIN", 0)
            await typed(page, app, "story", "!")
            await app.until(lambda: len(tries) > 3)
        await saved(app, file, "Once!")
    kept = [each for each in (tmp_path / "notebook" / "trash").rglob("*") if each.is_file()]
    assert [each.read_text() for each in kept] == ["another program's"]


async def test_a_text_is_free_again_where_generating_ended_before_it_began(tmp_path: Path):
    data = texts(tmp_path, story="Once")
    async with running("notebook", model=Scripted(" upon"), data=data) as app:
        page, real = await app.open("/notebook/story"), Extension.spawn

        def spawn(self: Any, work: Any, name: str = "") -> Any:
            task = real(self, work, name)
            if name.startswith("writing "):
                task.cancel()  # Before its first step.
            return task

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Extension, "spawn", spawn)
            await page.act("notebook.generate", name="story")
            await written(app, "story")
        await page.act("notebook.generate", name="story")
        await app.until(lambda: text(app, "story") == "Once upon")
