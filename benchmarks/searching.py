"""Search in 10,000 conversations: python -m benchmarks.searching

How long a search takes as a person types it: a rare word, a phrase, a word that stands nearly
everywhere, two letters that no index knows, filters; and the list at the side beside it. The bound
is 100 ms. The floor is SQLite's own search for the rare word, without ranks and excerpts.
"""

import asyncio
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.common import arguments, header, load, spread, table
from extensions.conversations.api import Store

PAIRS = 4
"""Questions with their answers in each conversation."""
WORDS = 60
"""Words of a message."""
SEARCHES = {
    "a rare word": "zugzwang",
    "a phrase": '"zugzwang in the endgame"',
    "a word that stands everywhere": "the",
    "two words": "endgame zugzwang",
    "the beginning of a word": "zugz",
    "two letters": "zu",
    "a tag and a word": "tag:chess zugzwang",
    "a folder": "in:Games",
    "nothing": "xylophonic",
}


async def fill(path: Path, count: int) -> None:
    """So many conversations; one in a hundred speaks of chess, each has common words."""
    chance = random.Random(1)
    others = ("".join(chance.choices("etaoinshrdlu", k=6)) for _ in range(9000))
    words = ["the", "of", "and", *others]
    weights = [2000.0, 1200.0, 900.0, *(1 / n for n in range(1, 9001))]
    async with Store.open(path):
        pass
    with closing(sqlite3.connect(path)) as database, database:
        for n in range(count):
            chess, last = n % 100 == 0, f"m{n}-{2 * PAIRS - 1}"
            database.execute(
                "INSERT INTO conversations (id, title, leaf, touched, created, updated, folder,"
                " tags) VALUES (?, ?, ?, ?, 0, 0, ?, ?)",
                (f"c{n}", f"Conversation {n}", last, n + 1, "Games" if chess else "",
                 "chess" if chess else ""),
            )  # fmt: skip
            for m in range(2 * PAIRS):
                text = " ".join(chance.choices(words, weights, k=WORDS))
                text += " zugzwang in the endgame" if chess and m == 3 else ""
                database.execute(
                    "INSERT INTO messages (id, conversation, parent, child, role, text, state,"
                    " created) VALUES (?, ?, ?, ?, ?, ?, 'done', 0)",
                    (f"m{n}-{m}", f"c{n}", f"m{n}-{m - 1}" if m else None,
                     f"m{n}-{m + 1}" if m + 1 < 2 * PAIRS else None,
                     ("user", "assistant")[m % 2], text),
                )  # fmt: skip
        database.execute("INSERT INTO folders (name) VALUES ('Games')")


def bare(path: Path, runs: int) -> list[float]:
    """The floor, in milliseconds."""
    found: list[float] = []
    with closing(sqlite3.connect(path)) as database:
        for _ in range(runs):
            began = time.perf_counter()
            query = "SELECT rowid FROM words WHERE words MATCH '\"zugzwang\"'"
            database.execute(query).fetchall()
            found.append(1000 * (time.perf_counter() - began))
    return found


async def main() -> None:
    flags = arguments(__doc__, conversations=10_000)
    header(f"Search in {flags.conversations:,} conversations")
    rows = [("what", "hits", "ms")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chats.sqlite3"
        await fill(path, flags.conversations)
        rows.append(("SQLite: a rare word (floor)", "", spread(bare(path, flags.runs))))
        async with Store.open(path) as store:
            for name, typed in SEARCHES.items():
                times, hits = list[float](), 0
                for _ in range(flags.runs):
                    began = time.perf_counter()
                    hits = len(await store.search(typed))
                    times.append(1000 * (time.perf_counter() - began))
                rows.append((name, f"{hits}", spread(times)))
            times = []
            for _ in range(flags.runs):
                began = time.perf_counter()
                await store.shelf.listing()
                times.append(1000 * (time.perf_counter() - began))
            rows.append(("the list at the side", "", spread(times)))
    table(rows)
    print(f"Median (lowest to highest); {load()}")


if __name__ == "__main__":
    asyncio.run(main())
