"""What modes ask for: a request that fits, its stopping strings, a template's text."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import structs

from kernel.api import UNSET, Everyone, Extension, Message, Refused, Request, Turn

from .fitting import Build, Fitting, LeftOut
from .library import Chosen, Library
from .options import Options
from .sandbox import Sandbox
from .stopping import invented, merged, stops_in

UNKNOWN = {"bos_token": "", "eos_token": ""}
"""Tokens' texts where only the shape of turns matters: an engine knows its own."""


REMEMBERED = 100
"""Templates whose stopping strings are known."""


class Prompts:
    """The service that is contributed to PROMPTS."""

    def __init__(self, ext: Extension[Any], library: Library) -> None:
        self._ext, self._library = ext, library
        self._fitting = Fitting(ext)
        self._sandbox = Sandbox(UNKNOWN)
        self._stops: dict[tuple[str, str], tuple[str, ...]] = {}
        self._choosing = threading.Lock()
        self._told = ("", "")
        """The model and the template that it was told about last."""
        ext.defer(lambda: ext.thread(self._sandbox.close))

    def prepare(self) -> None:
        """Start the sandbox where the first reply will need it; blocking."""
        model = self._ext.slot().model
        if model and not model.info.chat_template:
            with suppress(Refused):
                self.render("{{ messages }}", ())

    async def tell_missing(self) -> None:
        """Say, once while a model is there, that the template saved beside it is not."""
        model = self._ext.slot().model
        name = await self._ext.thread(self._library.missing, model.info) if model else ""
        told, self._told = self._told, (model.info.name if model else "", name)
        if model and name and told != self._told:
            text = (
                f"The instruction template “{name}”, which is saved beside {model.info.name}, is "
                f"not there. Put its file into {self._library.folder}, or choose another one in "
                "Settings, Instruction templates."
            )
            self._ext.log.warning("%s", text)
            self._ext.tell(text, Everyone())

    # --- for every mode ----------------------------------------------------------------

    def chosen(self, slot: str = "chat", name: str = "") -> Chosen:
        """The instruction template of a turn: the one of that `name`, or what the model's user,
        its file or its name says; `source` is empty for the model's own."""
        model = self._ext.slot(slot).model
        return self._library.chosen(name, model.info if model else None)

    def source(self, slot: str, options: Options) -> str:
        """The instruction template of a turn itself; empty for the model's own."""
        return options.template_source or self.chosen(slot, options.template).source

    def set_for(self, model: str) -> str:
        """The template that a person chose for a model, by its name; empty if none."""
        return self._ext.settings.templates.get(model, "")

    def choose_for(self, model: str, name: str) -> None:
        """Choose one for a model; no name: as if nothing was chosen. Blocking; raises Refused."""
        if name:
            self._library.read(name)
        with self._choosing:
            others = {k: v for k, v in self._ext.settings.templates.items() if k != model}
            if others != self._ext.settings.templates or name:
                self._ext.configure({"templates": others | ({model: name} if name else {})})

    def names(self) -> list[str]:
        """All instruction templates."""
        return [each.name for each in self._library.listed()]

    async def fitted(
        self,
        turn: Turn,
        messages: Sequence[Message],
        build: Build,
        *,
        turns: bool = True,
        inserted: str = "",
    ) -> Request:
        """The request that `build` makes of as many of the messages as fit; see fitting.py."""
        return await self._fitting.fitted(turn, messages, build, turns=turns, inserted=inserted)

    def left_out(self, conversation: str) -> LeftOut:
        """What the last turn of a conversation did without; told once."""
        return self._fitting.left_out(conversation)

    async def stops(self, request: Request) -> tuple[str, ...]:
        """The stopping strings of a request's template; none where it cannot be rendered."""
        model = self._ext.slot(request.slot).model
        source = request.template or (model.info.chat_template if model else "")
        key = source, repr(request.template_options)
        if key in self._stops:
            return self._stops[key]
        try:
            rendered = await self.text(
                request.slot, invented(), request.template, request.template_options
            )
        except Exception:  # It wants other turns than these: the model's own end has to do.
            return ()
        if len(self._stops) > REMEMBERED:
            self._stops.clear()
        stops = self._stops[key] = stops_in(rendered, source)
        return stops

    def stopped(self, request: Request, stops: Sequence[str], options: Options) -> Request:
        """The request with stopping strings: its own, those of the turn and of the template, where
        the model honours any."""
        model = self._ext.slot(request.slot).model
        if not model or "custom_stopping_strings" not in model.info.samplers:
            return request
        asked = request.sampling.custom_stopping_strings
        line = ("\n",) if options.stop_at_newline else ()
        all_ = merged(() if asked is UNSET else asked, options.stopping_strings, line, stops)
        if not all_:
            return request
        sampling = structs.replace(request.sampling, custom_stopping_strings=all_)
        return structs.replace(request, sampling=sampling)

    async def text(
        self,
        slot: str,
        messages: Sequence[Message],
        template: str = "",
        template_options: Mapping[str, Any] | None = None,
    ) -> str:
        """The messages as a template writes them, with nothing after the last one: in a sandbox
        beside the server, or in the engine where it is the model's own. Raises Refused."""
        if template:
            return await self._ext.thread(self.render, template, messages, template_options)
        model = self._ext.slot(slot).model
        if not model:
            raise Refused("No model is loaded. Choose one.")
        return await model.call(
            "template",
            messages=msgspec.to_builtins(messages),
            template_options=dict(template_options or {}),
            add_generation_prompt=False,
        )

    async def lines(
        self,
        template: str,
        messages: Sequence[Message],
        template_options: Mapping[str, Any],
        **how: Any,
    ) -> str:
        """The text of a chat template, as `ChatTemplate.render` makes it. Raises Refused."""

        def work() -> str:
            return self.render(template, messages, template_options, **how)

        return await self._ext.thread(work)

    def render(
        self,
        template: str,
        messages: Sequence[Message],
        template_options: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> str:
        """The same for any template; blocking. `how` as `ChatTemplate.render` has it."""
        how = {"add_generation_prompt": False, **how}
        options = template_options or {}
        return self._sandbox.render(messages, template=template, template_options=options, **how)
