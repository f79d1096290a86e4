"""Run under the shim: every operation of the store, with every one of its disk calls failing once.

    python -m tests.durability.failing_store FOLDER ERROR [cut] [stride]

After each: what a crash would leave is the old state or the new one, whole; the store has said
what it kept; and once the disk is well again, what was acknowledged is on it.
"""

import asyncio
import errno
import re
import shutil
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from extensions.conversations import schema
from extensions.conversations.api import Folder, Said, Store, StoreFailed, Unfiled, Whole
from kernel.api import Image
from tests.durability.shim import Disk

TABLES = ("conversations", "messages", "states", "folders", "enclosures")
PICTURE = Image(b"\x89PNG" * 4000, "image/png")
Ids = dict[str, str]
Operation = Callable[[Store, Ids], Awaitable[Any]]


async def grow(store: Store, ids: Ids) -> None:
    store.grow(ids["running"], "grown " * 2000, "grown " * 2000)
    await store._save(durable=False)


async def take(store: Store, ids: Ids) -> None:
    """An import; its place in the list is `sort_in`, a change of its own."""
    said = (Said("user", "word " * 3000, "1"), Said("assistant", "Yes.", "2", "1"))
    states = {"notes": {"key": [1] * 900}}
    await store.take(Whole("Imported", said, "2", folder="From there", states=states))


async def keep(store: Store, ids: Ids) -> None:
    """An incognito conversation that is to be kept after all."""
    secret = await store.create("Incognito conversation", incognito=True)
    await store.add_user(secret.id, "word " * 3000)
    await store.keep(secret.id)


OPERATIONS: dict[str, Operation] = {
    "create": lambda s, i: s.create("New"),
    "add_user": lambda s, i: s.add_user(i["conversation"], "word " * 3000),
    "add_user_first": lambda s, i: s.add_user("", "Hello"),
    "begin_reply": lambda s, i: s.begin_reply(i["asked"]),
    "grow": grow,
    "finish": lambda s, i: s.finish(i["running"], "done", "end " * 3000, "end"),
    "add_picture": lambda s, i: s.add_user(i["conversation"], "Look", parts=(PICTURE,)),
    "edit": lambda s, i: s.edit(i["asked"], "other words"),
    "select_version": lambda s, i: s.select_version(i["second"], -1),
    "rename": lambda s, i: s.rename(i["conversation"], "Renamed"),
    "delete": lambda s, i: s.delete(i["conversation"]),
    "undelete": lambda s, i: s.undelete(i["deleted"]),
    "delete_message": lambda s, i: s.delete_message(i["second"]),
    "undelete_message": lambda s, i: s.undelete_message(i["gone"]),
    "set_state": lambda s, i: s.set_state(i["conversation"], "notes", "key", {"a": [1] * 900}),
    "purge": lambda s, i: s.purge(older=-1),
    "pin": lambda s, i: s.shelf.pin(i["conversation"], on=True),
    "tag": lambda s, i: s.shelf.tag(i["conversation"], "blue green"),
    "file": lambda s, i: s.shelf.file(i["conversation"], "Home/Letters"),
    "make_folder": lambda s, i: s.shelf.make("New"),
    "fold": lambda s, i: s.shelf.fold("Work", on=True),
    "rename_folder": lambda s, i: s.shelf.rename("Work", "Play"),
    "remove_folder": lambda s, i: s.shelf.remove("Work"),
    "refile": lambda s, i: s.shelf.refile(Unfiled((Folder("Old"),), ((i["conversation"], "Old"),))),
    "erase": lambda s, i: s.shelf.erase([i["deleted"]]),
    "take": take,
    "sort_in": lambda s, i: s.shelf.sort_in([i["conversation"]]),
    "keep": keep,
    "backup": lambda s, i: s.backup("asked"),
    "restore": lambda s, i: s.restore(i["backup"]),
}


async def prepare(path: Path) -> Ids:
    """A database with something for every operation."""
    async with Store.open(path) as store:
        asked = await store.add_user("", "question")
        first = await store.begin_reply(asked.id)
        await store.finish(first.id, "done", "one", "one")
        ids = {"conversation": asked.conversation, "asked": asked.id}
        await store.backup("asked")
        ids["backup"] = (await store.backups())[0].name
        second = await store.begin_reply(asked.id)
        await store.finish(second.id, "done", "two", "two")
        ids["second"] = second.id
        other = await store.add_user("", "deleted later")
        await store.delete(other.conversation)
        ids["deleted"] = other.conversation
        third = await store.add_user("", "with a message that goes")
        await store.delete_message(third.id)
        ids["gone"] = third.id
        await store.shelf.file(third.conversation, "Work/Letters")
    return ids


State = dict[str, list[tuple[Any, ...]]]


def all_rows(connection: sqlite3.Connection) -> State:
    """Everything but the clock and what was drawn by lot: ids are numbered as they appear."""
    numbers: dict[str, int] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return "some time"
        if isinstance(value, str) and re.fullmatch("[0-9a-z]{16}", value):
            return numbers.setdefault(value, len(numbers))
        return value

    order = dict.fromkeys(TABLES, "seq") | {"states": "conversation, extension, key"}
    return {
        name: [
            tuple(map(plain, row))
            for row in connection.execute(f"SELECT * FROM {name} ORDER BY {order[name]}")
        ]
        for name in TABLES
    }


def on_disk(path: Path, scratch: Path) -> State:
    """What a process would find that opened the files as they are now, after a crash."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for end in ("", "-wal", ".next"):
        if (file := path.with_name(path.name + end)).exists():
            shutil.copyfile(file, scratch / file.name)
    if (scratch / f"{path.name}.next").exists():
        (scratch / f"{path.name}-wal").unlink(missing_ok=True)
        (scratch / f"{path.name}.next").replace(scratch / path.name)
    with closing(sqlite3.connect(scratch / path.name)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        return all_rows(database)


async def shown(store: Store) -> State:
    return await store._database.read(all_rows)


class Tried:
    """Counts what happened."""

    failed = told = memory = clean = 0


async def one(
    name: str, base: Path, ids: Ids, k: int, code: int, cut: bool, disk: Disk, tried: Tried
) -> bool:
    """One operation with its k-th disk call failing; whether that call was made."""
    work = base.parent / "attempt"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)
    path = work / "chats.sqlite3"
    async with Store.open(path, interval=3600) as store:  # Nothing but what is asked for.
        ids = dict(ids)
        if name in ("grow", "finish"):
            ids["running"] = (await store.begin_reply(ids["asked"])).id
        old = on_disk(path, base.parent / "scratch")
        refused = ""
        disk.fail("/attempt/", k, code, cut=cut)
        try:
            await OPERATIONS[name](store, ids)
        except StoreFailed as error:
            refused = str(error)
        acknowledged, hit = not refused, disk.heal()
        assert acknowledged or refused.endswith((".", "?")), refused
        new = await shown(store)
        crashed = on_disk(path, base.parent / "scratch")
        if acknowledged and not store.failure:
            assert crashed == new, "acknowledged, and not there"
        elif acknowledged:
            tried.memory += 1
            assert crashed in (old, new)
        else:
            tried.told += 1
            assert crashed in (old, new), "neither the old state nor the new one"
            assert new in (old, crashed)
        await store._database.retry()
        await store._save(durable=True)
        assert not store.failure, store.failure
        if acknowledged:
            assert on_disk(path, base.parent / "scratch") == new, "not saved when it was possible"
        tried.failed += hit
        tried.clean += not hit
        await store.add_user("", "It goes on.")
    return hit


async def opening(base: Path, k: int, code: int, cut: bool, disk: Disk, tried: Tried) -> bool:
    """Open a file of the first schema: a migration, with the backup before it."""
    work = base.parent / "attempt"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)
    path = work / "chats.sqlite3"
    before = path.read_bytes()
    disk.fail("/attempt/", k, code, cut=cut)
    hit = False
    try:
        async with Store.open(path, interval=0.01) as store:
            hit = disk.heal()
            assert [m.text for m in (await store.get("c")).messages] == ["Hi"]
            tried.memory += bool(store.failure)
    except StoreFailed:
        hit = disk.heal() or hit
        tried.told += 1
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT text FROM messages").fetchall() == [("Hi",)]
    async with Store.open(path) as store:
        assert [m.text for m in (await store.get("c")).messages] == ["Hi"]
    if not hit:
        [backup] = (work / "backups").glob("*-update.sqlite3")
        with closing(sqlite3.connect(backup)) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (1,)
    assert before
    tried.failed += hit
    return hit


async def first_schema(path: Path) -> None:
    kept = schema.MIGRATIONS
    schema.MIGRATIONS = (schema.FIRST,)
    async with Store.open(path):
        pass
    schema.MIGRATIONS = kept
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "INSERT INTO conversations (id, title, leaf, touched, created, updated)"
            " VALUES ('c', 'Old', 'm', 1, 0, 0)"
        )
        old.execute(
            "INSERT INTO messages (id, conversation, role, text, state, created)"
            " VALUES ('m', 'c', 'assistant', 'Hi', 'done', 0)"
        )


async def main(folder: Path, code: int, cut: bool, stride: int) -> None:
    disk, tried = Disk(), Tried()
    base, ancient = folder / "base", folder / "ancient"
    for made in (base, ancient):
        made.mkdir()
    ids = await prepare(base / "chats.sqlite3")
    await first_schema(ancient / "chats.sqlite3")
    calls: dict[str, int] = {}
    for name in [*OPERATIONS, "migrate"]:
        k, hit = 1, True
        while hit:
            try:
                if name == "migrate":
                    hit = await opening(ancient, k, code, cut, disk, tried)
                else:
                    hit = await one(name, base, ids, k, code, cut, disk, tried)
            except BaseException:
                print(f"{name}, disk call {k}", flush=True)
                raise
            calls[name] = k
            k += stride if k > 6 else 1
    print(
        f"{tried.failed} disk calls failed: {tried.memory} kept in memory, {tried.told} told;"
        f" {tried.clean} operations clean"
    )
    print(calls)
    assert tried.failed > 30
    assert tried.memory


if __name__ == "__main__":
    asyncio.run(
        main(
            Path(sys.argv[1]),
            getattr(errno, sys.argv[2]),
            sys.argv[3] == "cut",
            int(sys.argv[4]),
        )
    )
