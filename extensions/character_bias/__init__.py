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
        if not words or request.continue_ or request.messages is None:
            return draft  # nothing to say, a reply with words of its own, or no conversation
        messages = (*request.messages, Message("assistant", (Text(words + " "),)))
        return replace(draft, request=replace(request, messages=messages, continue_=True))
