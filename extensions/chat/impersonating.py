"""The model writes in the user's place: into the text box of one page, and nowhere else."""

from typing import Any

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
    begun = "".join(message.text for message in turn.messages)
    try:
        if not running.stopped:
            async for delta in reply:
                if delta.channel == "text" and not delta.choice:
                    text = reply.text if begun else reply.text.lstrip()
                    pages.tell_draft(client, begun + text)
        if reply.finish and reply.finish.error:
            ext.tell(reply.finish.error, client, "error")
    finally:
        prompts.left_out(running.conversation)  # It is said with replies.
        del under_way[running.conversation]
        await pages.tell_go(running.conversation)
