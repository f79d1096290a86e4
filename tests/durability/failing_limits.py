"""Run as a child with little of something: files, threads or memory.

    python -m tests.durability.failing_limits FOLDER files|threads|memory

It may refuse, in a sentence; what it acknowledged must be there, and the file sound.
"""

import asyncio
import os
import resource
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from extensions.conversations.api import Store, StoreFailed

BIG = "word " * 2_000_000


@contextmanager
def few_files() -> Iterator[None]:
    """64 file descriptors, of which none is left."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    try:
        yield
    finally:
        for handle in taken:
            os.close(handle)


@contextmanager
def few_threads() -> Iterator[None]:
    """No thread can be started any more."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refuse
    try:
        yield
    finally:
        threading.Thread.start = start


@contextmanager
def little_memory() -> Iterator[None]:
    """512 MB at most, or 60 more than there are now."""
    (pages, *_) = map(int, Path("/proc/self/statm").read_text().split())
    most = max(512_000_000, pages * resource.getpagesize() + 60_000_000)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


LIMITS = {"files": few_files, "threads": few_threads, "memory": little_memory}


async def main(path: Path, limit: str) -> None:
    refused: list[str] = []
    kept: dict[str, str] = {}
    async with Store.open(path) as store:
        first = await store.add_user("", "before")
        kept[first.id] = "before"
        with LIMITS[limit]():
            for text in ("small", *[BIG * n for n in (1, 4, 16) if limit == "memory"], "after"):
                try:
                    kept[(await store.add_user(first.conversation, text)).id] = text
                    reply = await store.begin_reply(first.id)
                    store.grow(reply.id, text, text)
                    kept[(await store.finish(reply.id, "done", text, text)).id] = text
                except (StoreFailed, MemoryError) as error:
                    refused.append(type(error).__name__)
            try:
                await store.backup("asked")
            except (StoreFailed, MemoryError, RuntimeError) as error:
                refused.append(f"backup: {error}")
        again = await store.add_user(first.conversation, "again")
        kept[again.id] = "again"
        await store.backup("asked")
        assert not store.failure, store.failure
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = dict(database.execute("SELECT id, text FROM messages"))
    lost = [id for id, text in kept.items() if found.get(id) != text]
    assert not lost, f"{len(lost)} of {len(kept)} lost"
    print(f"{limit}: {len(kept)} kept; refused: {refused}")
    assert len(kept) > 2


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) / "chats.sqlite3", sys.argv[2]))
