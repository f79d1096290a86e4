"""Which pages show the parameters, and what they are told of a change."""

import asyncio
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from msgspec import structs

from kernel.api import Client, Everyone, Extension, Refused

from . import tokens
from .actions import Constrain, Undelete
from .choices import TYPED, Choices
from .grammars import Grammars
from .texts import KNOWN
from .views import Views

NOTHING: Mapping[str, str] = {}


class Pages:
    """The open pages; each has its own filter, and all show the same values."""

    def __init__(
        self, ext: Extension[Any], choices: Choices, grammars: Grammars, views: Views
    ) -> None:
        self._ext, self._choices, self._grammars, self._views = ext, choices, grammars, views
        self._filters: dict[Client, str] = {}
        """Of the pages that show the tab."""
        self._errors: dict[Client, dict[str, str]] = {}
        self._names: tuple[list[str], set[str]] = [], set()
        self._files: tuple[list[str], set[str]] = [], set()
        self._deleted: list[dict[str, Any]] = []
        self._notices = 0
        self._model: object = None
        self._meeting = asyncio.Lock()

    # --- contexts ------------------------------------------------------------------------

    async def look(self) -> None:
        """Read again which files there are."""
        thread, shelf, library = self._ext.thread, self._choices.shelf, self._grammars.shelf
        self._names = await thread(lambda: (shelf.names(), shelf.own()))
        self._files = await thread(lambda: (library.names(), library.own()))
        both = (("preset", shelf), ("grammar", library))
        self._deleted = [
            {"what": what, **deleted._asdict()}
            for what, each in both
            for deleted in await thread(each.trash)
        ]

    async def panel(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of the tab."""
        await self.look()
        if client and client.id:
            self._filters.setdefault(client, "")
        errors = self._errors.get(client, NOTHING) if client else NOTHING
        parts = {
            "bar": self._bar(),
            "groups": self._groups(self._filters.get(client, "") if client else "", errors),
            "grammar": self._grammar(),
            "trash": self._trash(),
        }
        return {name: Markup(html) for name, html in parts.items()}

    async def quick(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of the pop-up and of its button."""
        if not self._names[0]:
            await self.look()
        errors = self._errors.get(client, NOTHING) if client else NOTHING
        return {"quick": self._views.quick(self._names[0], errors)}

    def left(self, client: Client) -> None:
        self._filters.pop(client, None)
        self._errors.pop(client, None)

    # --- what they are told --------------------------------------------------------------

    async def tell(self) -> None:
        """All values, where they are shown, and what is wrong with what was typed there."""
        self._tell_quick()
        drawn: dict[str, str] = {}  # of each filter: most pages have the same
        for client, chosen in [*self._filters.items()]:
            errors = self._errors.get(client)
            if errors or chosen not in drawn:
                html = self._bar(oob=True) + self._groups(chosen, errors or NOTHING, oob=True)
                drawn |= {} if errors else {chosen: html}
            else:
                html = drawn[chosen]
            self._ext.push_html(html, client, "values")
        for name, typed in TYPED.items():
            if self._filters and getattr(self._choices.now, typed):
                self._ext.spawn(self._tell_pieces(name), f"pieces of {name}")

    async def tell_wrong(self, name: str, error: str, client: Client) -> None:
        """What is wrong, beside the box where it was typed, until that is changed."""
        rows = [*KNOWN, *(row.name for row in self._views.added(NOTHING))]
        if name not in rows:
            return self._ext.tell(error, client, "error")
        self._errors.setdefault(client, {})[name] = error
        self._tell_pop(self._errors[client], client)
        if (chosen := self._filters.get(client)) is not None:
            html = self._groups(chosen, self._errors[client], oob=True)
            self._ext.push_html(html, client, "wrong")

    def renewed(self) -> None:
        """Other values stand in the boxes: what was wrong with what was typed there is past."""
        self._errors.clear()

    def right(self, name: str, client: Client) -> None:
        """It was changed: what was wrong with it is past."""
        errors = self._errors.get(client, {})
        errors.pop(name, None)
        if not errors:
            self._errors.pop(client, None)

    async def meet(self) -> bool:
        """Whether another model is there, or none any more: a load that goes on is no news. Who
        asks while its preset is being read waits for that."""
        async with self._meeting:
            info = self._ext.slot().state.info
            if self._model is info:
                return False
            try:
                if info and (preset := await self._choices.met(info)):
                    self.renewed()
                    self._ext.tell(f"The preset {preset} came with {info.name}.", Everyone())
            except Refused as error:
                self._ext.tell(str(error), Everyone(), "error")
            self._model = info
            return True

    async def tell_files(self) -> None:
        """Files came or went."""
        await self.look()
        await self.tell()
        self.tell_grammar()
        for client in [*self._filters]:
            self._ext.push_html(self._trash(oob=True), client, "trash")

    def tell_grammar(self) -> None:
        html = self._grammar(oob=True)
        for client in [*self._filters]:
            self._ext.push_html(html, client, "grammar")

    async def tell_checked(
        self, problem: Mapping[str, str], client: Client, typed: Constrain | None = None
    ) -> None:
        """The grammar everywhere; what is wrong, beside what was typed, where it was typed."""
        self.tell_grammar()
        if problem:
            self._ext.push_html(self._grammar(problem, typed, oob=True), client, "grammar")
        else:
            await self.tell()

    async def filter(self, client: Client, loader: str) -> None:
        """Show a page only what a loader honours."""
        self._filters[client] = loader
        html = self._groups(loader, self._errors.get(client, NOTHING), oob=True)
        self._ext.push_html(html, client, "values")

    def offer_undo(self, said: str, undo: Undelete, client: Client) -> None:
        """Say what was done with a file, beside a button that brings back what it was."""
        self._notices += 1
        action = {"action": "parameters.undelete", **structs.asdict(undo)}
        html = self._ext.render(
            "_undo.html",
            id=f"parameters-{self._notices}",
            text=said,
            kind="note",
            button={"label": "Undo", "vals": action},
        )
        self._ext.push_html(html, client)

    # --- inside --------------------------------------------------------------------------

    def _tell_quick(self) -> None:
        quick = self._views.quick(self._names[0], NOTHING)
        for template in ("pill.html", "pop.html"):
            html = self._ext.render(template, quick=quick, oob=True)
            self._ext.push_html(html, Everyone(), template)
        for client, errors in self._errors.items():
            self._tell_pop(errors, client)

    def _tell_pop(self, errors: Mapping[str, str], client: Client) -> None:
        """The pop-up of one page, with what is wrong with what was typed there."""
        quick = self._views.quick(self._names[0], errors)
        self._ext.push_html(self._ext.render("pop.html", quick=quick, oob=True), client, "pop.html")

    async def _tell_pieces(self, name: str) -> None:
        """The tokens of a list, once the model has said them."""
        model, typed = self._ext.slot().model, getattr(self._choices.now, TYPED[name])
        if not model:
            return
        read = tokens.bans if name == "custom_token_bans" else tokens.biases
        pieces = await read(typed, model)
        said = await tokens.said(pieces, model)
        if (getattr(self._choices.now, TYPED[name]), self._ext.slot().model) != (typed, model):
            return  # Another list is typed by now, or another model there, and it was told of that.
        able = name == "custom_token_bans" and self._choices.bans_phrases()
        html = self._ext.render(
            "_pieces.html", name=name, pieces=pieces, said=said, able=able, oob=True
        )
        for client in [*self._filters]:
            self._ext.push_html(html, client, f"pieces-{name}")

    def _trash(self, oob: bool = False) -> str:
        return self._ext.render("_trash.html", deleted=self._deleted, oob=oob)

    def _bar(self, oob: bool = False) -> str:
        return self._ext.render("_bar.html", **self._views.bar(*self._names), oob=oob)

    def _groups(self, chosen: str, errors: Mapping[str, str] = NOTHING, oob: bool = False) -> str:
        """All parameters that the filter `chosen` leaves."""
        info = self._choices.info
        return self._ext.render(
            "_groups.html",
            groups=self._views.groups(self._views.shown(chosen), errors),
            order=self._views.order(),
            added=self._views.added(errors, chosen),
            filter=chosen,
            loaders=self._views.loaders(),
            model=info.name if info else "",
            oob=oob,
        )

    def _grammar(
        self,
        problem: Mapping[str, str] = NOTHING,
        typed: Constrain | None = None,
        oob: bool = False,
    ) -> str:
        now, info = self._grammars.now, self._choices.info
        return self._ext.render(
            "_grammar.html",
            grammars=self._files[0],
            own=now.grammar_file in self._files[1],
            file=now.grammar_file,
            grammar=typed.grammar if typed else now.grammar,
            schema=typed.schema if typed else now.schema,
            by=typed.by if typed else now.constraint,
            used=now.constraint,
            able=info is None or "grammar" in info.capabilities,
            problem=problem,
            oob=oob,
        )
