"""A damaged file costs its own contents, with a sentence, and never the start."""

from pathlib import Path

import msgspec
import pytest

from extensions.models.memory import Memory
from kernel.jobs import JobKind
from kernel.keyring import Keyring
from kernel.settings import Secret, SettingsFile, Struct
from kernel.testing import running

DAMAGE = {
    "empty": b"",
    "cut": b'{"title": "Fetch", "par',
    "nul": b"\0" * 64,
    "noise": bytes(range(128, 256)),
    "another": b"[1, 2]",
}
damaged = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)

EXTENSION = """
import asyncio
from kernel.api import Action, JobKind

class Fetch(JobKind, frozen=True):
    url: str

class Begin(Action, frozen=True):
    pass

async def setup(ext):
    @ext.on(Fetch)
    async def run(job, params):
        ext.begun = params.url
        await asyncio.sleep(3600)

    ext.on(Begin)(lambda _, __: begin())

    async def begin():
        ext.job("Fetch the moon", Fetch("moon"))
"""
MANIFEST = 'id = "{}"\nname = "Fetcher"\nversion = "1"\nsummary = "Fetches."\napi = 1\n'


class Fetch(JobKind, frozen=True):
    url: str


def fetcher(folder: Path) -> Path:
    (folder / "fetcher").mkdir(parents=True)
    (folder / "fetcher" / "extension.toml").write_text(MANIFEST.format("fetcher"))
    (folder / "fetcher" / "__init__.py").write_text(EXTENSION)
    return folder


@damaged
async def test_a_job_record(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder, jobs = fetcher(tmp_path / "extensions"), tmp_path / "data" / "jobs"
    jobs.mkdir(parents=True)
    (jobs / "fetcher.fetch-1.json").write_bytes(damage)
    (jobs / "fetcher.fetch-nonsense.json").write_bytes(damage)
    good = {"title": "Good", "params": {"url": "sun"}, "checkpoint": None}
    (jobs / "fetcher.fetch-2.json").write_bytes(msgspec.json.encode(good))
    async with running("fetcher", folders=[folder], data=tmp_path / "data") as app:
        [job] = app.kernel.jobs.running.values()
        assert job.progress.title == "Good"
        await app.page().act("fetcher.begin")
        assert (jobs / "fetcher.fetch-3.json").exists()
    assert (jobs / "fetcher.fetch-1.json.damaged").read_bytes() == damage
    assert "start it again" in caplog.text


@damaged
def test_the_keys(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    before = Keyring(tmp_path)
    for name in ("session_key", "api_key"):
        (tmp_path / name).write_bytes(damage)
    keyring = Keyring(tmp_path)
    assert keyring.key not in ("", before.key)
    assert keyring.session(keyring.begin())
    assert not keyring.knows("")
    assert (tmp_path / "session_key.damaged").read_bytes() == damage
    assert "sign in again" in caplog.text
    assert Keyring(tmp_path).key == keyring.key


def test_who_signed_out_stays_out_when_that_cannot_be_read(tmp_path: Path):
    keyring = Keyring(tmp_path)
    cookie, other = keyring.begin(), keyring.begin()
    keyring.end(keyring.session(cookie))
    assert Keyring(tmp_path).session(other)
    (tmp_path / "signed_out").write_bytes(DAMAGE["noise"])
    assert not Keyring(tmp_path).session(cookie)
    assert (tmp_path / "signed_out.damaged").exists()


class Settings(Struct, frozen=True):
    key: Secret = Secret("")
    name: str = "a"


@damaged
def test_the_secrets(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    secrets = tmp_path / "secrets"
    settings = SettingsFile(tmp_path / "settings.yaml", secrets)
    settings.extension("tts", Settings)
    settings.update({"key": "old"}, "extensions", "tts")
    file = secrets / "extensions.tts.json"
    assert settings.extension("tts", Settings).key.reveal() == "old"
    file.write_bytes(damage)
    again = SettingsFile(tmp_path / "settings.yaml", secrets)
    assert again.extension("tts", Settings).key.reveal() == ""
    assert "must be entered again" in caplog.text
    again.update({"key": "new"}, "extensions", "tts")
    assert again.extension("tts", Settings).key.reveal() == "new"
    assert file.with_name("extensions.tts.json.damaged").read_bytes() == damage


@damaged
def test_which_model_was_last(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "models.json").write_bytes(damage)
    assert Memory(tmp_path / "models.json").last == ""
    assert "load one in the page" in caplog.text


def test_a_second_damaged_file_does_not_cost_the_first(tmp_path: Path):
    for damage in (b"one", b"two"):
        (tmp_path / "api_key").write_bytes(damage + b"\xff\0")
        Keyring(tmp_path)
    kept = sorted(f.read_bytes() for f in tmp_path.glob("api_key.damaged*"))
    assert kept == [b"one\xff\0", b"two\xff\0"]
