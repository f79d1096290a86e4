"""Replies are spoken as they are written, for the page that asked, and nothing is left of them."""

import asyncio
import io
import json
import os
import re
import shutil
import sys
import wave
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from extensions.api_kit.api import SPEECH
from extensions.conversations.api import STORE
from extensions.tts.speech import Speech, part_of, spoken
from kernel.api import NotAvailable, Refused
from kernel.testing import App, Page, Scripted, running

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="apt install espeak-ng")
FAKE = "#!/bin/sh\nexec cat\n"


@pytest.fixture
def espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name, whose clips are the words that it was given."""
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


async def clips(app: App, page: Page, count: int) -> list[str]:
    """What the page was told to play, in words."""
    await page.until(".*".join(["data-clip="] * count))
    found = re.findall(r'data-clip="([^"]+)"', page.html)
    return [(await app.fetch(path)).text for path in found]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# Hello *you*", "Hello you"),
        ("Look:\n```python\nx = 1\n```\nDone.", "Look: Done."),
        ("See [the page](https://x.example/a) or https://y.example", "See the page or"),
        ("```\nnever closed", ""),
        ("If x < 10 and y > 5 or a<b and c>d, stop.", "If x < 10 and y > 5 or a<b and c d, stop."),
        (
            "> So <b>it</b> is -> <br/>[that](https://x.example/Foo_(bar)) one",
            "So it is - that one",
        ),
        ('<a href="x">Here</a> <!-- not -->or <https://y.example>', "Here or"),
    ],
)
def test_only_words_are_spoken(text: str, words: str):
    assert spoken(text) == words


async def test_sentences_are_spoken_while_the_reply_is_written(espeak: None):
    gate = asyncio.Semaphore(0)
    model = Scripted("One two. Three four. Five", gate=gate)
    async with running("tts", "chat", model=model) as app:
        page, other = await app.open("/chat"), await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        for _ in range(3):
            gate.release()
        assert await clips(app, page, 1) == ["One two."]
        for _ in range(9):
            gate.release()
        assert await clips(app, page, 3) == ["One two.", "Three four.", "Five"]
        assert "data-clip" not in other.html


@pytest.mark.parametrize(
    "code",
    [
        "```python\nimport os\n\nprint(os)  # Done. Or not.\n```",
        "````markdown\nSo it is:\n```python\nprint(1)\n```\nNo more.\n````",
        "~~~\nprint(1)\n~~~",
        "- ```\n  print('```')\n  print(2)\n  ```",
    ],
)
async def test_no_line_of_code_is_spoken(espeak: None, code: str):
    async with running("tts", "chat", model=Scripted(f"Look:\n\n{code}\n\nThat is all.")) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Code.")
        assert await clips(app, page, 2) == ["Look:", "That is all."]


async def test_marks_in_the_middle_of_a_line_silence_nothing(espeak: None):
    said = "Put it between ``` marks. Then go on."
    async with running("tts", "chat", model=Scripted(said)) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Code.")
        assert await clips(app, page, 2) == ["Put it between marks.", "Then go on."]


@pytest.fixture
def echo(espeak: None) -> None:
    """The same program, whose clips are the voice and the speed that it was called with."""
    program = Path(shutil.which("espeak-ng") or "")
    program.write_text('#!/bin/sh\ncat > /dev/null\nprintf %s "$2 $4"\n')


async def test_who_speaks_and_how_fast_is_a_setting(echo: None):
    settings = {"tts": {"voice": "de", "variant": "croak", "speed": 300}}
    model = Scripted("One.", "Two.")
    async with running("tts", "chat", model=model, settings=settings) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        assert await clips(app, page, 1) == ["de+croak 300"]
        await app.configure("tts", variant="plain", speed=80)
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Again.")
        assert await clips(app, page, 1) == ["de 80"]


async def test_a_long_text_is_spoken_no_faster_than_the_page_takes_it(espeak: None):
    words = [f"Sentence {number}." for number in range(8)]
    async with running("tts", "chat", model=Scripted(" ".join(words))) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        await page.until(".*".join(["data-clip="] * 5))
        await page.until('data-busy="true".*data-busy="false"')
        [voice] = app.kernel.registry.values(SPEECH)
        for _ in range(3):  # By turns with the reply, if that were still read.
            await voice.speak("Between.", "de", 1.0, "wav")
        assert page.html.count("data-clip=") == 5
        for count in (5, 8):
            assert await clips(app, page, count) == words[:count]


async def test_a_page_that_stays_open_hears_what_comes_after_a_change_of_voice(espeak: None):
    async with running("tts", "chat", model=Scripted("One. Two.", "Three.")) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        await clips(app, page, 2)
        await page.until('data-busy="true".*data-busy="false"')
        before = [int(text) for text in re.findall(r'data-text="(\d+)"', page.html)]
        page.html = ""
        await app.configure("tts", voice="de")
        await page.until("tts-player")
        await page.act("chat.send", conversation=page.client.subject, text="Go on.")
        assert await clips(app, page, 1) == ["Three."]
        [after] = re.findall(r'data-text="(\d+)"', page.html)
        assert before[0] == before[1] < int(after), "a page leaves what has a lower number"


async def test_the_button_reads_a_message_and_hush_ends_it(espeak: None):
    settings = {"tts": {"autoplay": False}}
    async with running("tts", "chat", model=Scripted("One. Two."), settings=settings) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        await page.until('data-busy="true".*data-busy="false"')
        assert "data-clip" not in page.html
        message = re.findall(r'id="chat-m(\w+)-more"', page.html)[-1]
        await page.act("chat.menu", message=message)
        await page.until(f"tts-speak-{message}")
        await page.act("tts.speak", message=message)
        assert await clips(app, page, 2) == ["One.", "Two."]
        await page.act("tts.hush")


def numbers(page: Page) -> list[int]:
    """Of the texts that the page was told of: a higher one ends the one before."""
    return [int(text) for text in re.findall(r'data-text="(\d+)"', page.html)]


async def no_more(app: App, page: Page) -> None:
    """Take what the page was told, by turns with whoever still speaks, and see that nobody does."""
    told = page.html.count("data-clip=")
    [voice] = app.kernel.registry.values(SPEECH)
    await clips(app, page, told)
    for _ in range(3):
        await voice.speak("Between.", "de", 1.0, "wav")
    assert page.html.count("data-clip=") == told


EIGHT = " ".join(f"Sentence {number}." for number in range(8))


@pytest.mark.parametrize("autoplay", [True, False])
async def test_the_next_message_and_another_version_end_what_is_read(espeak: None, autoplay: bool):
    model, settings = Scripted(EIGHT, "...", "..."), {"tts": {"autoplay": autoplay}}
    async with running("tts", "chat", model=model, settings=settings) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        await page.until('data-busy="true".*data-busy="false"')
        message = re.findall(r'id="chat-m(\w+)-more"', page.html)[-1]
        for again in (False, True):
            page.html = ""
            await page.act("tts.speak", message=message)
            await page.until(".*".join(["data-clip="] * 5))
            reading = numbers(page)[-1]
            here = page.client.subject
            if again:
                await page.act("chat.regenerate_last", conversation=here)
            else:
                await page.act("chat.send", conversation=here, text="Go on.")
            await page.until('data-busy="true".*data-busy="false"')
            assert numbers(page)[-1] > reading, "the page leaves what waits there"
            await no_more(app, page)


@pytest.mark.parametrize("here", [True, False])
async def test_nothing_is_read_of_a_conversation_that_was_deleted(espeak: None, here: bool):
    async with running("tts", "chat", model=Scripted(EIGHT)) as app:
        page = await app.open("/chat")
        await page.act("chat.incognito")
        await page.act("chat.send", conversation=page.client.subject, text="Count.")
        await page.until(".*".join(["data-clip="] * 5))
        await page.until('data-busy="true".*data-busy="false"')
        [reading] = {*numbers(page)}
        if here:
            await page.act("chat.delete", conversation=page.client.subject)
        else:  # The page has gone elsewhere, and is not told.
            await app.kernel.registry.values(STORE)[0].delete(page.client.subject)
            await clips(app, page, 5)
        await page.until(r'<i data-text="\d+">')
        assert numbers(page)[-1] > reading
        await no_more(app, page)


async def three_speak(app: App, page: Page) -> str:
    """Three members of a new group answer, one after the other."""
    folder = app.kernel.characters
    folder.mkdir(parents=True, exist_ok=True)
    await page.act("chat.set_up", conversation="", mode="chat")
    for name in ("Ada", "Bo", "Cy"):
        (folder / f"{name}.json").write_text(json.dumps({"name": name}))
        await page.act("group_chat.add", conversation=page.client.subject, character=name)
    here = page.client.subject
    await page.act("chat.dummy", conversation=here, text="Hello.", role="user")
    await page.act("group_chat.go_on", conversation=here, turns=3)
    return here


async def test_who_speaks_next_in_a_group_interrupts_nobody(espeak: None):
    model = Scripted("I am first. Hm.", "I am second.", "I am third.")
    async with running("tts", "group_chat", "chat_instruct", model=model) as app:
        page = await app.open("/chat")
        here = await three_speak(app, page)
        said = ["I am first.", "Hm.", "I am second.", "I am third."]
        assert await clips(app, page, 4) == said
        [reading] = {*numbers(page)}
        await page.until('data-busy="true".*data-busy="false"')
        page.html = ""
        await page.act("chat.regenerate_last", conversation=here)
        assert await clips(app, page, 2) == ["I am first.", "Hm."]
        assert min(numbers(page)) > reading, "another version"


def becomes(script: str) -> None:
    """Another program in the place of espeak-ng; without a script there is none."""
    file = Path(shutil.which("espeak-ng") or "")
    file.write_text(script) if script else file.unlink()


WORD = "a" * 32


async def test_a_page_that_lost_its_connection_hears_the_rest(espeak: None):
    gate = asyncio.Semaphore(0)
    async with running("tts", "chat", model=Scripted("One. Two. Three.", gate=gate)) as app:
        page = await app.open("/chat")
        await page.act("tts.listen", word=WORD)
        await page.act("chat.send", conversation="", text="Count.")
        for _ in range(2):
            gate.release()
        assert await clips(app, page, 1) == ["One."]
        begun, page.html = {*numbers(page)}, ""
        page.lose()
        for _ in range(9):
            gate.release()
        other = await app.open(page.client.path)
        await other.until("Three")
        again = await page.connect()
        await other.act("tts.listen", word="b" * 32)
        await again.act("tts.listen", word=WORD)
        assert await clips(app, again, 2) == ["Two.", "Three."], "One. was taken"
        assert {*numbers(again)} == begun
        assert "data-clip" not in other.html


async def test_a_page_that_lost_its_connection_hears_who_speaks_next_in_a_group(espeak: None):
    gate = asyncio.Semaphore(0)
    model = Scripted("I am first. Hm.", "I am second.", "I am third.", gate=gate)
    async with running("tts", "group_chat", "chat_instruct", model=model) as app:
        page = await app.open("/chat")
        await page.act("tts.listen", word=WORD)
        here = await three_speak(app, page)
        for _ in range(4):
            gate.release()
        assert await clips(app, page, 1) == ["I am first."]
        page.close()
        again = await app.open(f"/chat/{here}")
        await again.act("tts.listen", word=WORD)
        for _ in range(60):
            gate.release()
        assert await clips(app, again, 3) == ["Hm.", "I am second.", "I am third."]
        assert {*numbers(again)} == {*numbers(page)}


def is_read() -> bool:
    """Whether somebody is being read to."""
    return any(task.get_name() == "tts:read" for task in asyncio.all_tasks())


async def test_a_page_that_does_not_come_back_is_forgotten(
    espeak: None, monkeypatch: pytest.MonkeyPatch
):
    async with running("tts", "chat", model=Scripted(EIGHT)) as app:
        monkeypatch.setattr(sys.modules["extensions.tts.reading"], "GRACE", 0)
        page = await app.open("/chat")
        await page.act("tts.listen", word=WORD)
        await page.act("chat.send", conversation="", text="Count.")
        await page.until(".*".join(["data-clip="] * 5))
        page.close()
        await app.until(lambda: not is_read())
        again = await app.open(page.client.path)
        await again.act("tts.listen", word=WORD)
        assert "data-clip" not in again.html


async def test_who_speaks_next_in_a_group_is_not_read_to_a_page_that_is_forgotten(
    espeak: None, monkeypatch: pytest.MonkeyPatch
):
    gate = asyncio.Semaphore(0)
    model = Scripted("I am first. Hm.", "I am second.", "I am third.", gate=gate)
    async with running("tts", "group_chat", "chat_instruct", model=model) as app:
        monkeypatch.setattr(sys.modules["extensions.tts.reading"], "GRACE", 0)
        page = await app.open("/chat")
        here = await three_speak(app, page)
        for _ in range(4):
            gate.release()
        await clips(app, page, 1)
        page.close()
        await app.until(lambda: not is_read())
        other = await app.open(f"/chat/{here}")
        for _ in range(60):
            gate.release()
        await other.until("I am third")
        assert not is_read()


BROKEN = "#!/bin/sh\ncat > /dev/null\necho no such voice >&2\nexit 1\n"


@pytest.mark.parametrize(
    ("script", "why"), [(BROKEN, "no such voice"), ("", "No such file")], ids=["broken", "gone"]
)
async def test_a_program_that_fails_is_told(espeak: None, script: str, why: str):
    async with running("tts", "chat", model=Scripted("One.")) as app:
        page = await app.open("/chat")
        becomes(script)
        await page.act("chat.send", conversation="", text="Count.")
        await page.until(f"Reading aloud failed: .*{why}.* Try another voice")


async def test_after_a_failure_the_next_reply_is_read(espeak: None):
    async with running("tts", "chat", model=Scripted("One.")) as app:
        page = await app.open("/chat")
        becomes(BROKEN)
        await page.act("chat.send", conversation="", text="Count.")
        await page.until("Reading aloud failed")
        await page.until('data-busy="true".*data-busy="false"')
        becomes(FAKE)
        await page.act("chat.send", conversation=page.client.subject, text="Again.")
        assert await clips(app, page, 1) == ["One."]


async def test_a_program_that_takes_too_long_is_stopped(
    espeak: None, monkeypatch: pytest.MonkeyPatch
):
    becomes("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("extensions.tts.speech.PATIENCE", 0.01)
    with pytest.raises(RuntimeError, match="espeak-ng took longer than"):
        await Speech.found().say("One.", "en", 175)


async def test_a_clip_goes_when_its_time_is_over_though_nothing_is_said_any_more(
    espeak: None, monkeypatch: pytest.MonkeyPatch
):
    speech = Speech.found()
    name = await speech.say("One.", "en", 175)
    monkeypatch.setattr("extensions.tts.speech.SECONDS", 0)
    with pytest.raises(HTTPException):
        await speech.serve(Request({"type": "http", "headers": [], "path_params": {"name": name}}))
    monkeypatch.setattr("extensions.tts.speech.SECONDS", 0.05)
    name = await speech.say("Two.", "en", 175)
    assert speech.waits(name)
    forgetting = asyncio.create_task(speech.forgetting())
    async with asyncio.timeout(5):
        await speech.taken(name)
    assert not speech.waits(name)
    forgetting.cancel()


async def test_clips_are_served_to_the_page_alone(espeak: None):
    async with running("tts", "chat", model=Scripted("One.")) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        await clips(app, page, 1)
        [path] = re.findall(r'data-clip="([^"]+)"', page.html)
        answer = await app.fetch(path)
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["cache-control"] == "no-store"
        assert (await app.fetch(path, who="nobody")).status == 401
        assert (await app.fetch("/ext/tts/clips/none.wav")).status == 404


async def test_no_word_of_what_is_spoken_comes_to_the_disk(espeak: None):
    async with running("tts", "chat", model=Scripted("A persimmon.")) as app:
        page = await app.open("/chat")
        await page.act("chat.incognito")
        await page.act("chat.send", conversation=page.client.subject, text="Tell.")
        assert await clips(app, page, 1) == ["A persimmon."]
        files = [path for path in app.kernel.data.rglob("*") if path.is_file()]
        assert [path for path in files if b"persimmon" in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("asked", "part", "tells"),
    [
        ("", b"0123456789", None),
        ("bytes=0-1", b"01", "bytes 0-1/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=10-", b"0123456789", None),
        ("bytes=3-1", b"0123456789", None),
        ("bytes=-2", b"0123456789", None),
    ],
)
def test_a_part_of_a_clip_can_be_asked_for(asked: str, part: bytes, tells: str | None):
    answer = part_of(b"0123456789", asked)
    assert (bytes(answer.body), answer.headers.get("content-range")) == (part, tells)
    assert answer.status_code == (206 if tells else 200)


async def test_old_clips_go_and_so_do_those_that_are_too_much(
    espeak: None, monkeypatch: pytest.MonkeyPatch
):
    speech = Speech.found()

    async def is_there(name: str) -> bool:
        try:
            await speech.serve(
                Request({"type": "http", "headers": [], "path_params": {"name": name}})
            )
        except HTTPException:
            return False
        return True

    first = await speech.say("One.", "en", 175)
    monkeypatch.setattr("extensions.tts.speech.KEPT", 10)
    second = await speech.say("Two.", "en", 175)
    assert [await is_there(name) for name in (first, second)] == [True, True]
    third = await speech.say("Three.", "en", 175)
    assert [await is_there(name) for name in (first, second, third)] == [False, True, True]
    fourth = await speech.say("Four.", "en", 175)
    waits = asyncio.ensure_future(speech.taken(fourth))
    monkeypatch.setattr("extensions.tts.speech.SECONDS", 0)
    await speech.say("Five.", "en", 175)
    await waits
    assert not await is_there(fourth)
    assert await speech.say("***", "en", 175) == ""


async def test_where_the_program_is_missing_the_card_says_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotAvailable, match="apt install espeak-ng"):
        Speech.found()
    async with running("conversations", "api_kit") as app:
        await app.toggle("tts", on=True)
        assert "Run: sudo apt install espeak-ng" in app.kernel.records["tts"].reason


@needs_espeak
async def test_the_real_program_speaks():
    data = await Speech.found().recorded("Hello, this is Spindle.", "en-us+f2", 175)
    with wave.open(io.BytesIO(data)) as clip:
        assert 0.8 < clip.getnframes() / clip.getframerate() < 10
        assert clip.getnframes() * clip.getsampwidth() == len(data) - 44


async def test_programs_borrow_the_voice(espeak: None):
    async with running("tts") as app:
        [voice] = app.kernel.registry.values(SPEECH)
        clip = await voice.speak("Hello # you.", "alloy", 1.0, "wav")
        assert (clip.data, clip.media_type) == (b"Hello # you.", "audio/wav")
        long = "word " * 1000
        assert (await voice.speak(long, "de", 4.0, "wav")).data == long.encode()
        with pytest.raises(Refused, match="nothing to say"):
            await voice.speak("...", "de", 1.0, "wav")
