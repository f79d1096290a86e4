"""Run under the shim: every file but the database, with each of its disk calls failing once.

    python -m tests.durability.failing_files FOLDER ERROR [cut]

After each failure the file holds what it held, or all of what was to be written.
"""

import asyncio
import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from extensions.models.memory import Choice, Memory
from kernel.bus import Bus
from kernel.files import write
from kernel.jobs import Job, JobKind, Jobs, Kept
from kernel.keyring import Key, Keyring
from kernel.settings import Secret, SettingsError, SettingsFile, Struct
from tests.durability.shim import Disk

YAML = b"# mine\nserver:\n  open_browser: false # quietly\nextensions:\n  tts:\n    speed: 1.5\n"


class Settings(Struct, frozen=True):
    speed: float = 1.0
    key: Secret = Secret("")


class Fetch(JobKind, frozen=True):
    url: str


def settings_of(folder: Path) -> SettingsFile:
    settings = SettingsFile(folder / "settings.yaml", folder / "secrets")
    settings.extension("tts", Settings)
    return settings


def change(folder: Path) -> None:
    settings_of(folder).update({"speed": 2.0}, "extensions", "tts")


def secret(folder: Path) -> None:
    settings_of(folder).update({"key": "new"}, "extensions", "tts")


def order(folder: Path) -> None:
    settings_of(folder).reorder(["chat", "tts"])


def checkpoint(folder: Path) -> None:
    file = folder / "jobs" / "a.fetch-1.json"

    async def work() -> None:
        jobs = Jobs(Bus(), folder / "jobs")
        kept, ended = asyncio.Event(), asyncio.Event()

        async def run(job: Job, params: Fetch) -> None:
            job.keep({"at": 2})
            kept.set()
            await ended.wait()

        kept_so_far = Kept("Fetch", Fetch("x"), {"at": 1})
        job = jobs.start_durable("a", "a.fetch", kept_so_far, run, file.name)
        await kept.wait()  # A checkpoint that cannot be kept costs the work nothing.
        job.task.cancel()
        await asyncio.gather(job.task, return_exceptions=True)

    asyncio.run(work())
    if msgspec.json.decode(file.read_bytes())["checkpoint"] != {"at": 2}:
        raise OSError("it was not kept")


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "settings": ("settings.yaml", change),
    "order": ("settings.yaml", order),
    "secrets": ("secrets/extensions.tts.json", secret),
    "made keys": ("secrets/keys.json", lambda f: Keyring(f / "secrets").keep([Key("b", "2" * 64)])),
    "signed out": ("secrets/signed_out", lambda f: Keyring(f / "secrets").end("b")),
    "jobs": ("jobs/a.fetch-1.json", checkpoint),
    "models": ("models.json", lambda f: Memory(f / "models.json").loaded("b", Choice("x"))),
    "character": ("c.yaml", lambda f: write(f / "c.yaml", b"name: B\n" * 5000)),
}


def prepare(folder: Path) -> None:
    (folder / "jobs").mkdir(parents=True)
    (folder / "settings.yaml").write_bytes(YAML)
    secret(folder)
    keyring = Keyring(folder / "secrets")
    keyring.end("a")
    keyring.keep([Key("a", "1" * 64)])
    record = {"title": "Fetch", "params": {"url": "x"}, "checkpoint": {"at": 1}}
    (folder / "jobs" / "a.fetch-1.json").write_bytes(msgspec.json.encode(record))
    Memory(folder / "models.json").loaded("a", Choice("x"))
    (folder / "c.yaml").write_bytes(b"name: A\n")
    settings_of(folder).update({"key": "old"}, "extensions", "tts")


def main(folder: Path, code: int, cut: bool) -> None:
    disk, failed = Disk(), 0
    base, work = folder / "base", folder / "attempt"
    prepare(base)
    for name, (file, action) in FILES.items():
        whole = 0
        for k in range(100):  # The 0th is never reached: the disk is well.
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(base, work)
            old, error = (work / file).read_bytes(), None
            disk.fail("/attempt/", k, code, cut=cut)
            try:
                action(work)
            except (OSError, SettingsError) as said:
                error = said
            hit, now = k > 0 and disk.heal(), (work / file).read_bytes()
            whole = whole or len(now)
            where = f"{name}, disk call {k}: {error!r}, {now!r}"
            assert now == old or len(now) == whole, where
            assert hit or not error, where
            assert error or now != old, where
            left = [f for f in work.rglob(".*") if f.is_file()]
            assert not left, f"{where}: {left} is left"
            failed += hit
            if k and not hit:
                break
        else:
            raise AssertionError(f"{name} never finished clean")
    print(f"{failed} disk calls failed")
    assert failed >= 3 * len(FILES)


if __name__ == "__main__":
    main(Path(sys.argv[1]), getattr(errno, sys.argv[2]), sys.argv[3] == "cut")
