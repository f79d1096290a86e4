"""Replies are spoken as they are written, for the page that asked, and nothing is left of them."""

import asyncio
import io
import os
import re
import shutil
import time
import wave
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from extensions.api_kit.api import SPEECH
from extensions.tts.speech import KEPT, Speech, spoken
from kernel.api import NotAvailable, Refused
from kernel.testing import App, Page, Scripted, running

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="apt install espeak-ng")
FAKE = """#!/bin/sh
while [ $# -gt 1 ]; do [ "$1" = -w ] && file=$2; shift; done
cat > "$file"
"""


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
        assert 'data-text="1"' in page.html
        assert "data-clip" not in other.html


@pytest.fixture
def echo(espeak: None) -> None:
    """The same program, whose clips are the voice and the speed that it was called with."""
    program = Path(shutil.which("espeak-ng") or "")
    code = FAKE.replace("while", 'said="$2 $4"\nwhile').replace("cat", 'echo -n "$said"')
    program.write_text(code)


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


async def test_clips_are_served_to_the_page_alone_and_only_they(espeak: None, tmp_path: Path):
    async with running("tts", "chat", model=Scripted("One."), data=tmp_path / "d") as app:
        (tmp_path / "d" / "secret.wav").write_text("no")
        for name in ("..%2Fsecret.wav", "none.wav"):
            assert (await app.fetch(f"/ext/tts/clips/{name}")).status in (400, 404)
        assert (await app.fetch("/ext/tts/clips/none.wav", who="nobody")).status == 401


@pytest.mark.parametrize("name", ["../secret.wav", "..", "con", "link.wav"])
async def test_no_name_leads_out_of_the_folder(espeak: None, tmp_path: Path, name: str):
    (tmp_path / "secret.wav").write_text("no")
    async with Speech.open(tmp_path / "clips") as speech:
        (tmp_path / "clips" / "link.wav").symlink_to(tmp_path / "secret.wav")
        with pytest.raises(HTTPException):
            await speech.serve(Request({"type": "http", "path_params": {"name": name}}))


async def test_old_clips_go_and_so_do_all_when_it_stops(espeak: None, tmp_path: Path):
    folder = tmp_path / "clips"
    async with Speech.open(folder) as speech:
        first = await speech.say("One.", "en", 175)
        os.utime(folder / first, (0, time.time() - 3600))
        for number in range(KEPT + 5):
            (folder / f"{number}.wav").write_text("x")
        second = await speech.say("Two.", "en", 175)
        assert not (folder / first).exists()
        assert (folder / second).read_text() == "Two."
        assert len(list(folder.iterdir())) == KEPT
        assert await speech.say("***", "en", 175) == ""
    assert not folder.exists()


async def test_where_the_program_is_missing_the_card_says_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotAvailable, match="apt install espeak-ng"):
        async with Speech.open(tmp_path / "clips"):
            pass
    async with running("conversations", "api_kit") as app:
        await app.toggle("tts", on=True)
        assert "Run: sudo apt install espeak-ng" in app.kernel.records["tts"].reason


@needs_espeak
async def test_the_real_program_speaks(tmp_path: Path):
    async with Speech.open(tmp_path / "clips") as speech:
        name = await speech.say("Hello, this is Spindle.", "en-us+f2", 175)
        with wave.open(io.BytesIO((tmp_path / "clips" / name).read_bytes())) as clip:
            assert clip.getnframes() / clip.getframerate() > 0.8


async def test_programs_borrow_the_voice(espeak: None):
    async with running("tts") as app:
        [voice] = app.kernel.registry.values(SPEECH)
        clip = await voice.speak("Hello # you.", "alloy", 1.0, "wav")
        assert (clip.data, clip.media_type) == (b"Hello # you.", "audio/wav")
        long = "word " * 1000
        assert (await voice.speak(long, "de", 4.0, "wav")).data == long.encode()
        with pytest.raises(Refused, match="nothing to say"):
            await voice.speak("...", "de", 1.0, "wav")
        assert not [*app.extension("tts").data.rglob("*.wav")]
