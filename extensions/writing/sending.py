"""A conversation as the text that the model reads: what is sent from the chat to a tab of text."""

from typing import Any

import msgspec

from extensions.chat.api import SETUPS
from extensions.conversations.api import Store
from extensions.prompts.api import rendered
from kernel.api import MODES, Extension, Refused, Turn

EMPTY = "No model is loaded, whose template makes the prompt. Choose one in the status line."


async def prompt_of(ext: Extension[Any], store: Store, message: str) -> str:
    """The exact prompt of a conversation up to and with a message; raises Refused."""
    model = ext.slot().model
    if not model:
        raise Refused(EMPTY)
    branch = await store.history(message)
    history = [each.message for each in branch if each.role != "assistant" or each.raw]
    answered = bool(history) and history[-1].role == "assistant"
    setup = await ext.one(SETUPS).of(branch[-1].conversation)
    turn = Turn(
        messages=() if answered else tuple(history[-1:]),
        conversation_id=branch[-1].conversation,
        continue_=answered,
        mode=setup.mode,
        options=msgspec.to_builtins(setup.options),
    )
    mode = next((mode for mode in ext.get(MODES) if mode.id == turn.mode), None)
    if not mode:
        raise Refused(f"The mode {turn.mode!r} is not running. Switch it on in Settings.")
    request = await mode.request(turn, history if answered else history[:-1])
    if request.prompt is not None:
        return request.prompt
    try:
        return await rendered(model, request)
    except Exception as error:
        raise Refused(str(error)) from error
