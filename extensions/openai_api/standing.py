"""The template that came with the loading of a model, for requests that say none."""

from collections.abc import Mapping
from typing import Any


class Standing:
    """Holds until the model changes."""

    def __init__(self) -> None:
        self._options: Mapping[str, str] = {}

    def set(self, name: str | None, source: str | None) -> None:
        """A template by its name, or by its text, which counts more."""
        options = {"template": name, "template_source": source}
        self._options = {option: said for option, said in options.items() if said}

    def under(self, options: Mapping[str, Any], wants: Any) -> dict[str, Any]:
        """The options of a request over it, where its mode knows templates."""
        own = "template" in options or "template_source" in options
        return (
            {**options} if own or "template" not in (wants or ()) else {**self._options, **options}
        )
