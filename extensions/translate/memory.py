"""Translations that were made, so that a conversation is not translated again with every turn."""

from collections import OrderedDict
from collections.abc import Callable

from .api import Translator

KEPT = 2000


class Memory:
    """Asks the translator once for each text; the space around a text stays as it is."""

    def __init__(self, translator: Callable[[], Translator]) -> None:
        self._translator = translator
        self._known: OrderedDict[tuple[str, str, str, str], str] = OrderedDict()

    async def translate(self, text: str, source: str, target: str) -> str:
        words = text.strip()
        if not words or source == target:
            return text
        translator = self._translator()
        key = translator.id, source, target, words
        if key not in self._known:
            self._known[key] = await translator.translate(words, source, target)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return text.replace(words, self._known[key], 1)
