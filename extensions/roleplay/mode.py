"""The mode `chat`: a character's conversation, line by line."""

from collections.abc import Callable, Sequence

from extensions.characters.api import INSERTED, Library
from extensions.prompts.api import Options, Prompts
from kernel.api import Message, Request, Turn

from .lines import play_of


class Roleplay:
    """Turns a turn and its history into a request for a text of `Name: words` lines."""

    id = "chat"
    label = "Chat"
    wants = ("character", "persona", "chat_template", "start_reply_with")

    def __init__(self, prompts: Prompts, library: Library, told: Callable[[], str]) -> None:
        self._prompts, self._library, self._told = prompts, library, told

    async def request(self, turn: Turn, history: Sequence[Message]) -> Request:
        told = Options.of(turn).system_message or self._told()
        play = await play_of(self._library, turn, history, told)

        async def build(kept: Sequence[Message]) -> Request:
            return Request(
                turn.slot,
                messages=tuple(kept),
                sampling=turn.sampling,
                adapters=turn.adapters,
                continue_=play.continue_,
                template=play.template,
                template_options=play.for_template(),
            )

        request = await self._prompts.fitted(
            turn, play.messages, build, turns=False, inserted=INSERTED
        )
        stops = (*play.stops(), *await self._prompts.stops(request))
        return self._prompts.stopped(request, stops, play.options)
