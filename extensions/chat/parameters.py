"""How the next reply is made: the chat's own parameters, and those that the loaded model's loader
adds to them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from kernel.api import UNSET, Extension, Sampling, check, fields

from .actions import Parameters

OWN = (("temperature", "the model's own"), ("max_new_tokens", ""), ("seed", "random"))
"""The chat's own, with what an unset one stands for."""


class ParameterForm:
    """The form beside the composer: what it shows, what it changes, and what comes of it."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext

    def sampling(self) -> Sampling:
        """What a reply begun now is asked with."""
        now = self._ext.settings
        return Sampling(
            temperature=now.temperature,
            max_new_tokens=now.max_new_tokens,
            seed=now.seed,
            extra=self._added(now.loader_parameters)[0] or UNSET,
        )

    def take(self, action: Parameters) -> Mapping[str, str]:
        """Keep what was typed; answers a sentence for each field that is no good."""
        typed = structs.asdict(action)
        added, errors = self._added(typed.pop("rest"))
        good, bad = check(type(self._ext.settings), typed)
        if not (errors := errors | bad):
            others = self._ext.settings.loader_parameters.items()
            names = {name for kind in self._kinds() for name in kind.__struct_fields__}
            kept = {name: value for name, value in others if name not in names}
            self._ext.configure({**good, "loader_parameters": {**kept, **added}})
        return errors

    def context(self, errors: Mapping[str, str] | None) -> dict[str, Any]:
        """The `parameters` of _composer.html."""
        settings = self._ext.settings
        standard = type(settings)()
        shown: dict[str, Any] = {"errors": errors or {}, "defaults": {}}
        for name, unset in OWN:
            value, default = getattr(settings, name), getattr(standard, name)
            shown[name] = "" if value == default else str(value)
            shown["defaults"][name] = unset if default is UNSET else str(default)
        good = self._added(settings.loader_parameters)[0]
        shown["added"] = [
            field
            for kind in self._kinds()
            for field in fields(kind, msgspec.convert(_of(kind, good), kind))
        ]
        return shown

    # --- inside ------------------------------------------------------------------------

    def _kinds(self) -> list[type[msgspec.Struct]]:
        return self._ext.slot().samplers()

    def _added(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The loader's parameters that are good and say something, as plain data; and errors."""
        said: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for kind in self._kinds():
            good, bad = check(kind, _of(kind, values))
            standard = kind()
            said |= {k: v for k, v in good.items() if v != getattr(standard, k)}
            errors |= bad
        return msgspec.to_builtins(said), errors


def _of(kind: type[msgspec.Struct], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in kind.__struct_fields__ if name in values}
