"""A reply in two parts: one that may not end yet, and one that goes on from it."""

from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec.structs import replace

from kernel.api import UNSET, Delta, Finish, Generation, Message, Request, Text, Usage


class TwoParts:
    """Iterate over it for the deltas of both; `finish` tells the end of the whole."""

    def __init__(
        self, generate: Callable[[Request], Awaitable[Generation]], request: Request, least: int
    ) -> None:
        self.finish: Finish | None = None
        self._generate, self._request, self._least = generate, request, least
        self._deltas = self._write()

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self._deltas

    async def __anext__(self) -> Delta:
        return await anext(self._deltas)

    async def _write(self) -> AsyncIterator[Delta]:
        sampling = self._request.sampling
        limit = sampling.max_new_tokens
        begun = replace(sampling, ban_eos_token=True, max_new_tokens=self._least)
        text = ""
        generation = await self._generate(replace(self._request, sampling=begun))
        try:
            async for delta in generation:
                text = delta.onto(text) if delta.channel == "text" else text
                yield delta
            self.finish = first = generation.finish
            rest = UNSET if limit is UNSET else limit - self._least
            if not first or first.reason != "length" or rest == 0:
                return
            on = replace(sampling, max_new_tokens=rest)
            if sampling.seed not in (UNSET, -1):  # The same random numbers would come again.
                on = replace(on, seed=(sampling.seed + self._least) % 2**32)
            generation = await self._generate(replace(self._further(text), sampling=on))
            async for delta in generation:
                yield delta
            if last := generation.finish:
                self.finish = replace(last, usage=_sum(first.usage, last.usage))
        finally:
            generation.cancel()

    def _further(self, text: str) -> Request:
        """The request that goes on with what was written."""
        if self._request.prompt is not None:
            return replace(self._request, prompt=self._request.prompt + text)
        messages = list(self._request.messages or ())
        if self._request.continue_:
            text = messages.pop().text + text
        messages.append(Message("assistant", (Text(text),)))
        return replace(self._request, messages=tuple(messages), continue_=True)


def _sum(first: Usage, last: Usage) -> Usage:
    return Usage(first.prompt, first.completion + last.completion, first.cached)
