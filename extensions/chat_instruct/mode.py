"""The mode `chat-instruct`: one instruction that holds the conversation, and the reply's name."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from extensions.characters.api import INSERTED, Library
from extensions.prompts.api import Prompts, system
from extensions.roleplay.api import Play, play_of
from kernel.api import Image, Message, Request, Text, Turn

COMMAND = """\
Read the conversation below and write what <|character|> says next. Write the words of \
<|character|> only, as they would speak.

<|prompt|>"""


class Lines(NamedTuple):
    """A conversation as text."""

    prompt: str
    begun: str
    """How the next line begins: the name, and what is to be continued."""


class ChatInstruct:
    """Turns a character's turn into a request for one instruction to be followed."""

    id = "chat-instruct"
    label = "Chat-instruct"
    wants = (
        "character", "persona", "template", "system_message", "command", "chat_template",
        "start_reply_with", "thinking",
    )  # fmt: skip

    def __init__(self, prompts: Prompts, library: Library, command: Callable[[], str]) -> None:
        self._prompts, self._library, self._command = prompts, library, command

    async def request(self, turn: Turn, history: Sequence[Message]) -> Request:
        play = await play_of(self._library, turn, history)
        template = self._prompts.source(turn.slot, play.options)
        command = await self._said(play, turn, history)

        async def build(kept: Sequence[Message]) -> Request:
            lines = await self._lines(play, kept)
            asked = command.replace("<|prompt|>", lines.prompt)
            return Request(
                turn.slot,
                messages=(
                    *system(play.options.system_message),
                    Message("user", (*pictures(kept), Text(asked))),
                    Message("assistant", (Text(lines.begun),)),
                ),
                sampling=turn.sampling,
                adapters=turn.adapters,
                continue_=True,
                template=template,
                template_options=play.options.for_template(),
            )

        request = await self._prompts.fitted(
            turn, play.messages, build, turns=False, inserted=INSERTED
        )
        stops = (*await self._prompts.stops(request), *play.stops())
        return self._prompts.stopped(request, stops, play.options)

    @property
    def usual_command(self) -> str:
        """What the model is asked where a conversation says nothing of its own."""
        return self._command().strip() or COMMAND

    # --- inside ------------------------------------------------------------------------

    async def _said(self, play: Play, turn: Turn, history: Sequence[Message]) -> str:
        """The command with its macros and the name, the conversation's place still open."""
        command = play.options.command.strip() or self.usual_command
        expanded = await self._library.expand(
            command,
            play.character,
            play.persona,
            [*history, *turn.messages],
            seed=play.seed,
            conversation=turn.conversation_id or "",
            idle=timedelta(seconds=play.options.idle),
            company=play.company,
        )
        return expanded.replace("<|character|>", play.speaker)

    async def _lines(self, play: Play, kept: Sequence[Message]) -> Lines:
        """The chat template's text up to the next line, and how that begins."""
        options = play.for_template()
        done = kept[:-1] if play.continue_ else kept
        prompt = await self._prompts.lines(play.template, done, options)
        how = {"continue_": True} if play.continue_ else {"add_generation_prompt": True}
        whole = await self._prompts.lines(play.template, kept, options, **how)
        same = whole.startswith(prompt)
        begun = whole[len(prompt) :].lstrip() if same else f"{play.speaker}:"
        return Lines(prompt.strip(), begun)


def pictures(messages: Sequence[Message]) -> list[Image]:
    """Those of a conversation, which its text cannot hold."""
    return [part for each in messages for part in each.parts if isinstance(part, Image)]
