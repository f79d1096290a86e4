"""What a program asks for, whatever its API: one reply to a conversation or to a plain text."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import structs

from kernel.api import Draft, Image, Message, Meta, Sampling, Struct, Turn, built

from .pictures import with_pictures

ASKED = "asked"
"""The option of a turn that holds what no mode knows: see `Asked`."""
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""How much a model is to think: what OpenAI's and Anthropic's programs call it, and templates."""


@built
class Asked(Struct, frozen=True):
    """What reaches the request past the modes, as plain data in the turn's options."""

    grammar: str = ""
    """GBNF, or a JSON schema; see engine_kit's `as_gbnf`."""
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    token_ids: tuple[int, ...] = ()
    """Instead of a prompt, its tokens."""
    images: tuple[Image, ...] = ()
    images_at: int = 0
    """Pictures within a prompt, and how many of its characters stand before them."""
    only_compose: bool = False
    """No engine is asked; see composing.py."""


class Wish(Struct, frozen=True):
    """One reply: to `messages`, or the continuation of a `prompt`, or of `asked.token_ids`."""

    messages: tuple[Message, ...] = ()
    """The whole conversation, the newest message last."""
    said_in: str = "messages"
    """The field that brought them."""
    prompt: str | None = None
    mode: str = "instruct"
    options: Mapping[str, Any] = {}
    """What the mode is told beside the messages."""
    called: Mapping[str, str] = {}
    """By option, the field that brought it."""
    sampling: Sampling = Sampling()
    tools: tuple[Mapping[str, Any], ...] = ()
    adapters: tuple[tuple[str, float], ...] = ()
    continue_: bool = False
    """Go on with the last message, which is the assistant's."""
    asked: Asked = Asked()
    slot: str = "chat"

    def turn(self, principal: str) -> tuple[Turn, Sequence[Message]]:
        """The turn, and what came before it."""
        asked = msgspec.to_builtins(self.asked)
        options = {name: said for name, said in self.options.items() if name != ASKED}
        if asked:  # This name is ours: what a program writes under it says nothing.
            options[ASKED] = asked
        new = 0 if self.continue_ or not self.messages else 1
        split = len(self.messages) - new
        tokens = bool(self.asked.token_ids)
        turn = Turn(
            messages=self.messages[split:],
            mode=self.mode,
            options=options,
            principal=principal,
            sampling=self.sampling,
            tools=self.tools,
            adapters=self.adapters,
            continue_=self.continue_,
            prompt="" if tokens and self.prompt is None else self.prompt,
            slot=self.slot,
        )
        return turn, self.messages[:split]


async def ask(draft: Draft) -> Draft:
    """The `REQUEST` modifier: what a program asked for past the mode."""
    if not (said := draft.turn.options.get(ASKED)) or draft.turn.client:
        return draft
    asked = msgspec.convert(said, Asked)
    request = draft.request
    if asked.token_ids:
        request = structs.replace(request, prompt=None, token_ids=asked.token_ids)
    elif asked.images:
        request = with_pictures(request, asked.images, asked.images_at)
    request = structs.replace(
        request, grammar=request.grammar or asked.grammar, logprobs=asked.logprobs
    )
    return structs.replace(draft, request=request)
