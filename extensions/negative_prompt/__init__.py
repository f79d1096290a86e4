"""Sends a conversation to the negative prompt, what replies are led away from."""

from itertools import count
from typing import Any

from extensions.conversations.api import STORE, is_secret
from extensions.parameters.api import PARAMETERS
from extensions.writing.api import prompt_of
from kernel.api import PANELS, Action, Client, Extension, Panel, Refused

NAME = "negative_prompt"
SENT = (
    "The negative prompt is the conversation up to there. It counts where guidance_scale is not 1 "
    "and the model can do this: see Parameters."
)
SECRET = "This conversation is incognito, and parameters are kept on the disk. Keep it first."


class Send(Action, frozen=True):
    """Make the conversation up to a message the negative prompt."""

    message: str


async def setup(ext: Extension[Any]) -> None:
    numbers = count(1)

    async def shown(client: Client | None, subject: str) -> dict[str, str]:
        return {"message": subject}

    @ext.on(Send)
    async def send(action: Send, client: Client) -> None:
        if is_secret(action.message):
            raise Refused(SECRET)
        parameters = ext.one(PARAMETERS)
        prompt, before = (
            await prompt_of(ext, ext.one(STORE), action.message),
            parameters.typed(NAME),
        )
        await parameters.set(NAME, prompt)
        back = {"action": "parameters.set", "name": NAME, "value": before}
        button = {"label": "Undo", "vals": back}
        id = f"negative_prompt-{next(numbers)}"
        html = ext.render("_sent.html", id=id, text=SENT, kind="note", button=button)
        ext.push_html(html, client)

    ext.add(PANELS, Panel("message_actions", "send.html", shown, 12))
