"""The mode `instruct`: what was said so far, before it the system message if there is one."""

from collections.abc import Callable, Sequence

from extensions.prompts.api import Options, Prompts, alternating, system
from kernel.api import Message, Request, Turn


class Instruct:
    """Turns a turn and its history into a request, with nothing added but the system message."""

    id = "instruct"
    label = "Instruct"
    wants = ("template", "system_message", "start_reply_with", "thinking")

    def __init__(self, prompts: Prompts, told: Callable[[], str]) -> None:
        self._prompts, self._told = prompts, told

    async def request(self, turn: Turn, history: Sequence[Message]) -> Request:
        options = Options.of(turn)
        template = self._prompts.source(turn.slot, options)
        messages, continue_ = options.begun(turn, [*history, *turn.messages])
        if not (messages and messages[0].role == "system"):
            messages = [*system(options.system_message or self._told()), *messages]

        async def build(kept: Sequence[Message]) -> Request:
            return Request(
                turn.slot,
                messages=alternating(kept),
                sampling=turn.sampling,
                adapters=turn.adapters,
                tools=turn.tools,
                continue_=continue_,
                template=template,
                template_options=options.for_template(),
            )

        request = await self._prompts.fitted(turn, messages, build)
        return self._prompts.stopped(request, await self._prompts.stops(request), options)
