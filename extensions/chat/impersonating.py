"""The model writes in the user's place: into the text box of one page, and nowhere else."""

from typing import Any
from weakref import WeakSet

import msgspec

from extensions.conversations.api import is_secret
from extensions.prompts.api import Prompts
from kernel.api import Client, Extension, Message, Text, Turn

from .pages import Pages
from .running import Running
from .setup import Setup


def turn_of(running: Running, setup: Setup, client: Client, text: str) -> Turn:
    """The turn in which the model goes on with the user's words."""
    return Turn(
        messages=(Message("user", (Text(text),)),) if text.strip() else (),
        mode=setup.mode,
        options={**msgspec.to_builtins(setup.options), "impersonate": True},
        conversation_id=running.conversation,
        principal=client.principal,
        client=client.id,
        incognito=is_secret(running.conversation),
    )


async def write(
    ext: Extension[Any],
    pages: Pages,
    prompts: Prompts,
    running: Running,
    client: Client,
    turn: Turn,
    history: list[Message],
    under_way: dict[str, Running],
) -> None:
    """Run the turn; its words go to the page that asked as they come."""
    reply = running.reply = ext.run(turn, history)
    box = Box(pages, client, running.conversation)
    begun = "".join(message.text for message in turn.messages)
    try:
        if not running.stopped:
            async for delta in reply:
                if delta.channel == "text" and not delta.choice:
                    box.put(begun + (reply.text if begun else reply.text.lstrip()))
        if reply.finish and reply.finish.error:
            ext.tell(reply.finish.error, client, "error")
    finally:
        box.close()
        prompts.left_out(running.conversation)  # It is said with replies.
        del under_way[running.conversation]
        await pages.tell_go(running.conversation)


class Box:
    """The text box of the page that asked, or, where its connection was lost, of one that came to
    the conversation since; while none of them shows it the words wait."""

    def __init__(self, pages: Pages, client: Client, conversation: str) -> None:
        self._pages, self._client, self._conversation = pages, client, conversation
        self._others = WeakSet(page for page in pages.open if page is not client)
        """Those that have words of their own in theirs."""
        self._missed = ""

    def put(self, words: str) -> None:
        """All the words so far."""
        there = [page for page in self._pages.open if not page.lost]
        here = [page for page in there if page.subject == self._conversation]
        if self._client in there:
            here = [page for page in here if page is self._client]
        mine = [page for page in here if page not in self._others]
        for page in mine:
            self._pages.tell_draft(page, words)
        self._missed = "" if mine else words

    def close(self) -> None:
        """Nothing more comes; what no page has seen is put there when one comes."""
        if self._missed:
            self.put(self._missed)  # A page may be back since.
        if self._missed:
            self._pages.waiting[self._conversation] = self._missed
