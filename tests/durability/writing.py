"""Run as a child that will be killed: a person's work on the store, told line by line.

It imports once and then forks: a line on stdin, `PATH SEED PLAN`, begins a run whose process id is
the first line said. Each operation is announced (`?`) before it begins and acknowledged (`!`)
after; a reply's growth is told with the time.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from extensions.conversations.api import Said, Store, Whole
from kernel.crash import PLAN

END = '["end"]\n'
"""What is said when a child has ended."""


class Person:
    """Does one thing after the other, by lot, and says so."""

    def __init__(self, store: Store, seed: int, careful: bool) -> None:
        self._store, self._chance, self._careful = store, random.Random(seed), careful
        self._conversations: list[str] = []
        self._messages: list[str] = []

    def say(self, mark: str, *what: Any) -> None:
        os.write(1, (json.dumps([mark, *what]) + "\n").encode())

    async def live(self) -> None:
        while True:
            actions = [self.talk]
            if self._messages and self._careful:
                actions = [self.back_up, self.rename]
            elif self._messages:
                actions += [
                    self.edit,
                    self.rename,
                    self.delete,
                    self.hide,
                    self.state,
                    self.file,
                    self.bring_in,
                    self.back_up,
                ]
            await self._chance.choice(actions)()

    async def talk(self) -> None:
        text = f"question {self._chance.random()} " * self._chance.choice((1, 300))
        known = self._conversations and self._chance.random() < 0.6
        conversation = self._chance.choice(self._conversations) if known else ""
        self.say("?", "message", text)
        asked = await self._store.add_user(conversation, text)
        self.say("!", "message", asked.id, text, asked.conversation)
        self._conversations.append(asked.conversation)
        self._messages.append(asked.id)
        reply = await self._store.begin_reply(asked.id)
        said = ""
        for n in range(self._chance.choice((3, 10, 30, 100, 500))):
            said += f"{n} "
            self._store.grow(reply.id, said, said)
            self.say("~", reply.id, said, time.monotonic())
            await asyncio.sleep(0.003)
        self.say("?", "message", said + ".")
        await self._store.finish(reply.id, "done", said + ".", said + ".")
        self.say("!", "message", reply.id, said + ".", asked.conversation)
        self._messages.append(reply.id)

    async def edit(self) -> None:
        id, text = self._chance.choice(self._messages), f"edited {self._chance.random()}"
        self.say("?", "message", text)
        edited = await self._store.edit(id, text)
        self.say("!", "message", edited.id, text, edited.conversation)

    async def rename(self) -> None:
        id, title = self._chance.choice(self._conversations), f"title {self._chance.random()}"
        self.say("?", "title", id, title)
        await self._store.rename(id, title)
        self.say("!", "title", id, title)

    async def delete(self) -> None:
        """R12: what is deleted and brought back is either, never half."""
        id = self._chance.choice(self._conversations)
        self.say("?", "deleted", id, True)
        await self._store.delete(id)
        self.say("!", "deleted", id, True)
        self.say("?", "deleted", id, False)
        await self._store.undelete(id)
        self.say("!", "deleted", id, False)

    async def hide(self) -> None:
        id = self._chance.choice(self._messages)
        self.say("?", "hidden", id, True)
        await self._store.delete_message(id)
        self.say("!", "hidden", id, True)
        self.say("?", "hidden", id, False)
        await self._store.undelete_message(id)
        self.say("!", "hidden", id, False)

    async def state(self) -> None:
        id, value = self._chance.choice(self._conversations), self._chance.random()
        self.say("?", "state", id, value)
        await self._store.set_state(id, "notes", "key", value)
        self.say("!", "state", id, value)

    async def file(self) -> None:
        id, name = self._chance.choice(self._conversations), f"folder {self._chance.random()}"
        self.say("?", "folder", id, name)
        await self._store.shelf.file(id, name)
        self.say("!", "folder", id, name)

    async def bring_in(self) -> None:
        """What is imported is there whole or not at all; its place in the list comes after."""
        text = f"imported {self._chance.random()} " * self._chance.choice((1, 300))
        self.say("?", "message", text)
        id, _ = await self._store.take(Whole("Imported", (Said("user", text, "1"),), "1"))
        [said] = (await self._store.get(id)).messages
        self.say("?", "message", text)
        await self._store.shelf.sort_in([id])
        self.say("!", "message", said.id, text, id)
        self._conversations.append(id)

    async def back_up(self) -> None:
        await self._store.backup("asked")
        asked = [b.name for b in await self._store.backups() if b.cause == "asked"]
        self.say("!", "backup", asked[0])
        self.say("?", "restore", name := self._chance.choice(asked))
        await self._store.restore(name)
        self.say("!", "restore", name)
        await self.look_around()

    async def look_around(self) -> None:
        """What a restored backup holds is what there is now."""
        listed = await self._store.list(limit=1000)
        self._conversations = [c.id for c in listed]
        opened = [await self._store.get(id) for id in self._conversations]
        self._messages = [m.id for one in opened for m in one.messages if m.state == "done"]


async def run(path: Path, seed: int, plan: str) -> None:
    async with Store.open(path) as store:
        if store.recovered:
            await store.accept()
        person = Person(store, seed, plan.startswith(("backup", "restore", "replace")))
        await person.look_around()
        person.say("open")
        await person.live()


def main() -> None:
    for line in sys.stdin:
        path, seed, plan = line.split()
        if child := os.fork():
            os.waitpid(child, 0)
            os.write(1, END.encode())
            continue
        os.environ[PLAN] = plan
        os.write(1, (json.dumps(["pid", os.getpid()]) + "\n").encode())
        asyncio.run(run(Path(path), int(seed), plan))


if __name__ == "__main__":
    main()
