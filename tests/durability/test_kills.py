"""R2, R12: a process that writes is killed, at labelled places and at any moment.

Whatever it had acknowledged is there, nothing is half there, the file is sound, and of a reply
that was being streamed at most the last second is lost. 50 kills; with --long 2,000.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from extensions.conversations import schema
from extensions.conversations.api import Store
from kernel.crash import PLAN
from tests.durability.writing import END

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")
PLACES = {
    "commit.begun": 60, "commit.worked": 60, "commit.done": 60, "backup.copied": 4,
    "restore.prepared": 3, "replace.ready": 3, "replace.alone": 3, "replace.done": 3,
    "whole.added": 10, "shelf.sorted": 10, "migrate.step": 2, "recover.built": 1, "replace.kept": 1,
}  # fmt: skip
"""Where to die, and up to which passing of it."""
LIVES = 4
"""How often the same file is written to and its writer killed."""


@dataclass
class Model:
    """What must be in the store, by what was acknowledged."""

    messages: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, bool] = field(default_factory=dict)
    hidden: dict[str, bool] = field(default_factory=dict)
    states: dict[str, float] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> "Model":
        """What is in a file."""
        model = cls()
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert not database.execute("PRAGMA foreign_key_check").fetchall()
            database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
            for id, text, deleted in database.execute("SELECT id, text, deleted FROM messages"):
                model.messages[id], model.hidden[id] = text, deleted is not None
            columns = {row[1] for row in database.execute("PRAGMA table_info(conversations)")}
            folder = "folder" if "folder" in columns else "''"
            query = f"SELECT id, title, deleted, leaf, {folder} FROM conversations"
            names = "SELECT name FROM folders" if "folder" in columns else "SELECT ''"
            known = {row[0] for row in database.execute(names)}
            for row in database.execute(query):
                model.titles[row[0]], model.deleted[row[0]] = row[1], row[2] is not None
                model.folders[row[0]] = row[4]
                assert not row[4] or row[4] in known
                assert row[3] in model.messages
            query = "SELECT conversation, value FROM states"
            model.states = {id: json.loads(value) for id, value in database.execute(query)}
        return model

    def copy(self) -> "Model":
        return Model(*({**each} for each in vars(self).values()))

    def apply(self, what: str, *values: Any) -> None:
        match what, values:
            case "message", (id, text, _):
                self.messages[id] = text
                self.hidden[id] = False
            case "title", (id, title):
                self.titles[id] = title
            case "deleted", (id, on):
                self.deleted[id] = on
            case "hidden", (id, on):
                self.hidden[id] = on
            case "state", (id, value):
                self.states[id] = value
            case "folder", (id, name):
                self.folders[id] = name


@dataclass
class Told:
    """What a child said before it died."""

    model: Model
    possible: list[Model]
    """What may be there as well, since it was under way."""
    text: str = ""
    """The words of a message that was being added."""
    growth: list[tuple[str, float]] = field(default_factory=list)
    reply: str = ""


def heard(lines: list[list[Any]], before: Model, backups: dict[str, Model]) -> Told:
    told = Told(before, [])
    for mark, *what in lines:
        if mark == "?":
            told.possible = [told.model.copy()]
            if what[0] == "message":
                told.text = what[1]
            elif what[0] == "restore":
                told.possible = [backups[what[1]]]
            else:
                told.possible[0].apply(*what)
        elif mark == "!":
            told.possible, told.text = [], ""
            if what[0] == "backup":
                backups[what[1]] = told.model.copy()
            elif what[0] == "restore":
                told.model = backups[what[1]].copy()
            else:
                told.model.apply(*what)
                if what[0] == "message" and what[1] == told.reply:
                    told.reply, told.growth = "", []
        elif mark == "~":
            if told.reply != what[0]:
                told.reply, told.growth = what[0], []
            told.growth.append((what[1], what[2]))
    return told


def verify(path: Path, told: Told) -> float:
    """Check the file that a killed child left; answers the milliseconds of streaming lost."""
    now, candidates = Model.of(path), [told.model, *told.possible]
    assert any(_holds(now, model, told) for model in candidates), _difference(now, told.model)
    if not told.reply or not told.growth:
        return 0.0
    kept = now.messages.get(told.reply, "")
    assert (told.growth[-1][0] + ".").startswith(kept), "the reply has other words"
    unsaved = [at for text, at in told.growth if len(text) > len(kept)]
    return 1000 * (told.growth[-1][1] - unsaved[0]) if unsaved else 0.0


def _holds(now: Model, model: Model, told: Told) -> bool:
    """Whether all of a model is there, and beside it nothing but what was under way."""
    for name, expected in vars(model).items():
        found = getattr(now, name)
        if any(found.get(key) != value for key, value in expected.items()):
            return False
    others = [now.messages[id] for id in now.messages.keys() - model.messages.keys()]
    growing = told.growth[-1][0] + "." if told.growth else ""
    return all(text in ("", told.text) or growing.startswith(text) for text in others)


def _difference(now: Model, model: Model) -> str:
    return "\n".join(
        f"{name} {key}: {str(value)[:80]!r} was acknowledged, there is"
        f" {str(getattr(now, name).get(key))[:80]!r}"
        for name, expected in vars(model).items()
        for key, value in expected.items()
        if getattr(now, name).get(key) != value
    )


class Writer:
    """The process whose children write and are killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.writing"],
            cwd=ROOT,
            env={**os.environ, PLAN: "-"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def life(self, path: Path, seed: int, plan: str, seconds: float) -> list[list[Any]]:
        """Let a child write until it dies by its plan, or is killed after some seconds."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{path} {seed} {plan}\n")
        self.process.stdin.flush()
        said, timer = list[list[Any]](), None
        for line in self.process.stdout:
            if line.endswith(END):  # Perhaps behind a line that the kill cut short.
                break
            mark, *what = json.loads(line)
            if mark == "pid":
                timer = threading.Timer(seconds, _kill, what)
                timer.start()
            else:
                said.append([mark, *what])
        if timer:
            timer.cancel()
            timer.join()
        return said


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Figures:
    kills: Counter[str] = field(default_factory=Counter)
    most_lost: float = 0.0
    operations: int = 0


def lives(writer: Writer, seed: int, figures: Figures, folder: Path, times: int) -> None:
    """One file, and its writer killed several times."""
    chance, path = random.Random(seed), folder / "chats.sqlite3"
    model, backups = Model(), dict[str, Model]()
    for n in range(times):
        place = chance.choice([*PLACES, *["random"] * len(PLACES)])
        plan, seconds = "-", chance.choice((0.1, 0.3, 1.0, 2.5)) * chance.random()
        if place == "migrate.step":
            _first_schema(path)
            model = Model({"m": "Hi"}, {"c": "Old"}, {"c": False}, {"m": False})
        elif place in ("recover.built", "replace.kept") and n:
            _damage(path)
        elif place in ("recover.built", "replace.kept"):
            place = "random"
        if place != "random":
            plan, seconds = f"{place}:{chance.randint(1, PLACES[place])}", 4.0
        lines = writer.life(path, chance.randrange(2**32), plan, seconds)
        told = heard(lines, model, backups)
        asyncio.run(_reopened(path))
        lost = verify(path, told)
        assert lost <= 1000, f"{lost:.0f} ms of a reply were lost"
        figures.kills[place] += 1
        figures.most_lost = max(figures.most_lost, lost)
        figures.operations += sum(mark == "!" for mark, *_ in lines)
        model = Model.of(path)
        for file in path.parent.glob("backups/*.sqlite3"):  # Made, and not said any more.
            backups.setdefault(file.name, Model.of(file))


async def _reopened(path: Path) -> None:
    async with Store.open(path) as store:
        if store.recovered:
            await store.accept()
        for conversation in await store.list(limit=1000):
            for message in (await store.get(conversation.id)).messages:
                assert message.state in ("done", "interrupted")


def _damage(path: Path) -> None:
    """Its first bytes are gone: SQLite knows it no more, and every message is still in it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb+") as file:
        file.write(bytes(100))


def _first_schema(path: Path) -> None:
    for file in path.parent.rglob("chats*"):
        file.unlink()
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript(f"PRAGMA journal_mode = WAL; {schema.FIRST}; PRAGMA user_version = 1;")
        old.execute(
            "INSERT INTO conversations (id, title, leaf, touched, created, updated)"
            " VALUES ('c', 'Old', 'm', 1, 0, 0)"
        )
        old.execute(
            "INSERT INTO messages (id, conversation, role, text, state, created)"
            " VALUES ('m', 'c', 'assistant', 'Hi', 'done', 0)"
        )


@contextmanager
def scratch(tmp_path: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        yield Path(folder)


def many(tmp_path: Path, kills: int, writers: int, seed: int) -> Figures:
    """Kill so often, with several writers at once, each on files of its own."""
    all_figures = [Figures() for _ in range(writers)]

    def work(number: int) -> None:
        writer = Writer()
        try:
            for n in range(number, kills // LIVES, writers):
                with scratch(tmp_path) as folder:
                    lives(writer, seed + n, all_figures[number], folder, LIVES)
        finally:
            writer.close()

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(work, range(writers)))
    total = Figures()
    for figures in all_figures:
        total.kills += figures.kills
        total.most_lost = max(total.most_lost, figures.most_lost)
        total.operations += figures.operations
    return total


def test_r2_some_kills(tmp_path: Path):
    """Others in each run; two thousand with --long."""
    figures = many(tmp_path, 20, 4, seed=int(time.time()))
    assert figures.kills.total() >= 18
    assert figures.operations


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_r2_two_thousand_kills(tmp_path: Path, record_property: Any):
    figures = many(tmp_path, 2000, 3, seed=1)
    report = (
        f"{figures.kills.total()} kills ({dict(sorted(figures.kills.items()))}), after"
        f" {figures.operations} acknowledged operations: 0 lost, 0 corrupt; at most"
        f" {figures.most_lost:.0f} ms of streamed text lost"
    )
    record_property("kills", report)
    (tmp_path / "report").write_text(report)
    print(report)  # noqa: T201  the figures are what this is run for
    assert figures.kills.total() >= 2000
    assert figures.kills["random"] > 500
    assert all(figures.kills[place] > 20 for place in PLACES)


def test_r2_the_check_can_fail(tmp_path: Path):
    """A message that was acknowledged and is not there, or half there, is noticed."""
    path = tmp_path / "chats.sqlite3"

    async def write() -> tuple[str, str]:
        async with Store.open(path) as store:
            asked = await store.add_user("", "Hello")
            return asked.id, asked.conversation

    id, conversation = asyncio.run(write())
    good = [["!", "message", id, "Hello", conversation]]
    assert verify(path, heard(good, Model(), {})) == 0
    for said in (
        [["!", "message", "another", "Hello", conversation]],
        [["!", "message", id, "Hello you", conversation]],
        [*good, ["!", "title", conversation, "Renamed"]],
        [*good, ["!", "deleted", conversation, True]],
        [["?", "message", "something else"]],
    ):
        with pytest.raises(AssertionError):
            verify(path, heard(said, Model(), {}))
    growing = [
        ["~", id, "Hello", 1.0],
        ["~", id, "Hello you", 1.2],
        ["~", id, "Hello you two", 1.7],
    ]
    assert verify(path, heard([*good, *growing], Model(), {})) == pytest.approx(500)
