"""The template that came with the loading of a model, for requests that say none."""

from collections.abc import Mapping
from typing import Any

from kernel.api import Slot


def life(slot: Slot) -> object:
    """What is another thing after each load, also of the same model; None: nothing is loaded."""
    return slot.model.died if slot.model else None


class Standing:
    """Holds until the model changes."""

    def __init__(self, slot: Slot) -> None:
        self._slot, self._for = slot, life(slot)
        self._options: Mapping[str, str] = {}

    def set(self, name: str | None, source: str | None) -> None:
        """A template by its name, or by its text, which counts more."""
        options = {"template": name, "template_source": source}
        self._options = {option: said for option, said in options.items() if said}
        self._for = life(self._slot)

    def under(self, options: Mapping[str, Any], wants: Any) -> dict[str, Any]:
        """The options of a request over it, where its mode knows templates."""
        own = "template" in options or "template_source" in options
        if own or "template" not in (wants or ()) or self._for is not life(self._slot):
            return {**options}
        return {**self._options, **options}
