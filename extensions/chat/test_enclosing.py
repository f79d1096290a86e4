"""What other extensions put beside the words of a message."""

import asyncio
from collections.abc import Sequence

from extensions.chat.api import ENCLOSURES
from extensions.conversations.api import STORE, StoredMessage
from kernel.api import Audio, Client, Part, Phase, Text
from kernel.testing import App, Scripted, running

SOUND = Audio(b"beep", "audio/wav")
HEARS = ("text", "audio")


class Sounds:
    """Encloses one recording, once."""

    def __init__(self, broken: str = "") -> None:
        self.left: list[Part] = [SOUND]
        self._broken = broken
        self.slow = asyncio.Event()
        self.slow.set()

    async def waiting(self, client: Client | None, conversation: str) -> str:
        assert self._broken != "drawing"
        await self.slow.wait()
        return f"<i data-enclosed>{len(self.left)} wait</i>"

    def parts(self, client: Client) -> Sequence[Part]:
        assert self._broken != "sending"
        return list(self.left)

    async def sent(self, client: Client, parts: Sequence[Part]) -> None:
        assert self._broken != "taking away"
        self.left = [each for each in self.left if each not in parts]

    async def back(self, client: Client, parts: Sequence[Part]) -> None:
        assert self._broken != "drawing"
        self.left += [each for each in parts if each == SOUND]

    def shown(self, message: StoredMessage) -> str:
        assert self._broken != "drawing"
        return "<i>beep</i>" if SOUND in message.parts else ""


def enclose(app: App, sounds: Sounds) -> None:
    add = app.kernel.registry.add
    add(ENCLOSURES, sounds, "chat", phase=Phase.NORMAL, rank=0, rewrites=False)


async def test_it_waits_above_the_box_goes_with_the_message_and_is_shown_with_it():
    async with running("chat", model=Scripted("Loud.", capabilities=HEARS)) as app:
        page = await app.open("/chat")
        enclose(app, Sounds())
        await page.until("<i data-enclosed>1 wait</i>")
        await page.act("chat.send", conversation="", text="Listen")
        await page.until("<i>beep</i>.*Loud")
        (store,) = app.kernel.registry.values(STORE)
        asked = (await store.get(page.client.subject)).messages[0]
        assert (asked.text, asked.parts) == ("Listen", (SOUND, Text("Listen")))
        await page.until("<i data-enclosed>0 wait</i>")
        await page.until('chat-figures.*data-busy="false"')
        await page.act("chat.remove_last", conversation=page.client.subject)
        assert (await app.open("/chat")).html.count("<i data-enclosed>1 wait</i>")


async def test_one_that_is_slow_to_draw_does_not_bring_back_a_busy_composer():
    gate = asyncio.Semaphore(0)
    async with running("chat", model=Scripted("Loud.", gate=gate, capabilities=HEARS)) as app:
        page = await app.open("/chat")
        enclose(app, sounds := Sounds())
        await page.act("chat.send", conversation="", text="Listen")
        await page.until('data-busy="true"')
        sounds.slow.clear()
        setting = page.act("chat.set_up", conversation=page.client.subject, mode="instruct")
        under_way = asyncio.create_task(setting)
        for _ in range(9):
            gate.release()
        await page.until('chat-figures.*data-busy="false"')
        page.html = ""
        sounds.slow.set()
        await under_way
        await page.until('id="chat-composer".*data-busy="false"')
        assert 'data-busy="true"' not in page.html


async def test_who_cannot_draw_or_take_away_costs_the_message_nothing():
    for broken in ("drawing", "taking away"):
        async with running("chat", model=Scripted("Loud.", capabilities=HEARS)) as app:
            page = await app.open("/chat")
            enclose(app, Sounds(broken))
            await page.act("chat.send", conversation="", text="Listen")
            await page.until("Listen.*Loud")


async def test_a_message_is_not_sent_without_what_goes_with_it():
    async with running("chat", model=Scripted("Loud.", capabilities=HEARS)) as app:
        page = await app.open("/chat")
        enclose(app, Sounds("sending"))
        await page.act("chat.send", conversation="", text="Listen")
        await page.until("Chat failed")
        (store,) = app.kernel.registry.values(STORE)
        assert not await store.list(), "the words are still in the box"
