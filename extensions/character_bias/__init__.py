"""Puts hidden words before the model's reply, which it then goes on from."""

from typing import Annotated

from msgspec.structs import replace

from kernel.api import REQUEST, Draft, Extension, Message, Meta, Phase, Struct, Text


class Settings(Struct, frozen=True):
    """What it believes to have said."""

    words: Annotated[
        str, Meta(max_length=2000, description="What the model's reply began with, hidden.")
    ] = "*I am so happy*"


async def setup(ext: Extension[Settings]) -> None:
    @ext.on(REQUEST, phase=Phase.LATE)
    async def begin(draft: Draft) -> Draft:
        request, words = draft.request, ext.settings.words.strip()
        if not words or not request.messages or (request.continue_ and not only_name(draft)):
            return draft  # nothing to say, no conversation, or a reply with words of its own
        *before, last = request.messages
        said = f"{last.text} {words} " if request.continue_ else f"{words} "
        before += [] if request.continue_ else [last]
        messages = (*before, Message("assistant", (Text(said),)))
        return replace(draft, request=replace(request, messages=messages, continue_=True))


def only_name(draft: Draft) -> bool:
    """Whether the reply is begun with nothing but a name, as in chat-instruct."""
    turn, options = draft.turn, draft.turn.options
    words = turn.continue_ or options.get("start_reply_with") or options.get("impersonate")
    last = [*(draft.request.messages or ())][-1]
    return not words and last.role == "assistant" and last.text.endswith(":")
