"""The chime is a sound, the user's own file goes before it, and it rings once for each reply."""

import asyncio
import io
import wave
from pathlib import Path

import pytest

from extensions.sounds.chime import LARGEST, RATE, chime, own
from kernel.testing import Scripted, running


def test_the_chime_is_heard_and_fades():
    with wave.open(io.BytesIO(chime())) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, RATE)
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
    loudest = max(map(abs, samples))
    assert chime() is chime(), "it is made once"
    assert 5_000 < loudest < 32_000
    assert max(map(abs, samples[-RATE // 20 :])) < loudest / 20


def test_the_users_file_goes_first_unless_it_is_no_plain_file(tmp_path: Path):
    assert own(tmp_path) is None
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "notification.wav").symlink_to(tmp_path / "secret")
    (tmp_path / "notification.ogg").write_bytes(bytes(LARGEST + 1))
    assert own(tmp_path) is None
    (tmp_path / "notification.mp3").write_bytes(b"mine")
    assert own(tmp_path) == (b"mine", "audio/mpeg")


async def test_each_reply_rings_once_where_it_is_seen():
    async with running("sounds", "chat", model=Scripted("One. Two.")) as app:
        page, other = await app.open("/chat"), await app.open("/chat")
        assert 'data-number="0"' in page.html
        await page.act("chat.send", text="hello")
        await page.until('data-number="1" data-volume="0.6"')
        assert 'data-number="1"' not in other.html
        sound = await app.fetch("/ext/sounds/sound")
        assert (sound.status, sound.headers["content-type"]) == (200, "audio/wav")


async def test_what_is_stopped_or_fails_does_not_ring():
    gate = asyncio.Semaphore(0)
    async with running("sounds", "chat", model=Scripted("One. Two.", gate=gate)) as app:
        page = await app.open("/chat")
        await page.act("chat.send", text="hello")
        gate.release()
        await page.until("One")
        await page.act("chat.stop", conversation=page.client.subject)
        await page.until('data-busy="true".*data-busy="false"')
        page.html = ""
        await app.kernel.slot().unload()
        await page.act("chat.send", conversation=page.client.subject, text="hello?")
        await page.until('data-busy="true".*data-busy="false"')
        await app.load(Scripted("Three."))
        await page.act("chat.send", conversation=page.client.subject, text="hello!")
        await page.until('data-number="1"')


@pytest.mark.parametrize("away", [True, False])
async def test_the_page_is_told_when_to_be_silent(away: bool):
    async with running("sounds", settings={"sounds": {"only_when_away": away}}) as app:
        page = await app.open("/")
        assert ("data-away" in page.html) is away
