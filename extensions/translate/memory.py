"""Translations that were made, so that a conversation is not translated again with every turn."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from kernel.api import Extension

from .api import Translator

KEPT = 2000
LONGEST = 30
"""Seconds after which no answer of a translator is waited for any more."""
QUIET = 60
"""Seconds in which a trouble is told once."""
Key = tuple[str, str, str, str]
"""Who is asked, from which language, into which, and the words."""


class Memory:
    """Asks the translator once for each text; the space around a text stays as it is.

    Who leaves before it has answered finds the answer the next time.
    """

    def __init__(self, ext: Extension[Any], translator: Callable[[], Translator]) -> None:
        self._ext, self._translator = ext, translator
        self._known: OrderedDict[Key, str] = OrderedDict()
        self._asked: dict[Key, asyncio.Task[Exception | None]] = {}
        self._told: dict[str, float] = {}
        """When (monotonic) a trouble was told last, by conversations."""

    async def translate(self, text: str, source: str, target: str) -> str:
        """Raises what the translator raises."""
        words = text.strip()
        if not words or source == target:
            return text
        translator = self._translator()
        key = translator.id, source, target, words
        if key not in self._known and (error := await asyncio.shield(self._ask(translator, key))):
            raise error
        self._known.move_to_end(key)
        return text.replace(words, self._known[key], 1)

    def known(self, text: str, source: str, target: str) -> str:
        """Its translation, if it is known; else the text."""
        key = self._translator().id, source, target, text.strip()
        return text.replace(key[-1], self._known[key], 1) if key in self._known else text

    def is_news(self, conversation: str) -> bool:
        """Whether a person may be told there of a trouble: not more often than once a minute."""
        now = time.monotonic()
        self._told = {each: at for each, at in self._told.items() if at > now - QUIET}
        return self._told.setdefault(conversation, now) == now

    def know(self, text: str, source: str, target: str, said: str) -> None:
        """Keep a translation that needs no translator: of a reply, what the model itself said."""
        self._keep((self._translator().id, source, target, text.strip()), said.strip())

    def _ask(self, translator: Translator, key: Key) -> "asyncio.Task[Exception | None]":
        if key not in self._asked:
            self._asked[key] = self._ext.spawn(self._answer(translator, key), "translate")
            self._asked[key].add_done_callback(lambda _: self._asked.pop(key))
        return self._asked[key]

    async def _answer(self, translator: Translator, key: Key) -> Exception | None:
        """Keep what it answers. Its error is answered: raised here, it would be told by the kernel
        as well as by who asked."""
        _, source, target, words = key
        try:
            async with asyncio.timeout(LONGEST):
                said: object = await translator.translate(words, source, target)
            if not isinstance(said, str) or not said.strip():
                raise TypeError(f"the translator {translator.id} gave no words, but {said!r:.40}")
            self._keep(key, said)
        except Exception as error:
            return error
        return None

    def _keep(self, key: Key, said: str) -> None:
        self._known[key] = said
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
