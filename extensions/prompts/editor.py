"""The page of instruction templates: choosing, editing, and what a sample conversation becomes."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from kernel.api import Client, Extension, Message, Refused, Struct, Text

from .library import Library
from .sandbox import Sandbox
from .stopping import invented, stops_in

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
"""What stands in the preview for tokens that each model writes differently."""
SAMPLE = (
    Message("system", (Text("You are a librarian."),)),
    Message("user", (Text("Is the library open?"),)),
    Message("assistant", (Text("Until eight."),)),
    Message("user", (Text("And tomorrow?"),)),
)


class Preview(Struct, frozen=True):
    """What a template makes of the sample, or why it makes nothing."""

    text: str = ""
    stops: tuple[str, ...] = ()
    error: str = ""


class Looking(Struct, frozen=True):
    """The template that a page looks at; without a name the model's own."""

    name: str = ""
    source: str = ""


class Editor:
    """The panel in Settings."""

    def __init__(
        self, ext: Extension[Any], library: Library, choose: Callable[[str, str], None]
    ) -> None:
        self._ext, self._library, self._choose = ext, library, choose
        self._sandbox = Sandbox(TOKENS)
        self._asked = 0
        ext.defer(lambda: ext.thread(self._sandbox.close))

    async def context(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of editor.html; the subject is the template's name, or none."""
        looking = await self._ext.thread(self._looked, subject)
        preview = await self.preview(looking.source)
        return {**self._common(looking), "preview": preview}

    async def open(self, client: Client, name: str) -> None:
        """Show a template, and make that the page's address; no name: the model's own."""
        if name:
            await self._ext.thread(self._library.read, name)
        if not client.path.startswith("/settings/prompts"):
            return  # An Undo that was pressed on another page.
        html = self._ext.render("_editor.html", **await self.context(client, name), oob=True)
        self._ext.go(client, f"/settings/prompts/{quote(name, safe='')}".rstrip("/"))
        self._ext.push_html(html, client)

    async def show(self, client: Client, source: str) -> None:
        """What the sample becomes with this source; only the last of several asked at once."""
        self._asked = asked = self._asked + 1
        preview = await self.preview(source)
        if asked == self._asked or not preview.error:
            html = self._ext.render("_preview.html", preview=preview, oob=True)
            self._ext.push_html(html, client, "preview")

    async def save(self, client: Client, name: str, source: str) -> None:
        """Keep a template under a name."""
        name = name.strip()
        if not name:
            raise Refused("A template needs a name. Write one.")
        kept = await self._ext.thread(self._library.save, name, source)
        await self.open(client, name)
        if kept:
            text = f"“{name}” was saved over what it was."
            self._offer_undo(text, client, kept=kept, instead=True)
        else:
            self._ext.tell(f"“{name}” was saved.", client)

    async def delete(self, client: Client, name: str) -> None:
        """Move the user's own file to the trash, with a way back."""
        kept = await self._ext.thread(self._library.delete, name)
        await self.open(client, "")
        self._offer_undo(f"“{name}” was moved to the trash.", client, kept=kept)

    async def restore(self, client: Client, kept: str, instead: bool) -> None:
        back = partial(self._library.restore, kept, instead=instead)
        await self.open(client, await self._ext.thread(back))

    async def use(self, client: Client, name: str) -> None:
        """Choose a template for the loaded model; no name: its own, or what its name says. What
        is typed on the page stays there."""
        model = self._ext.slot().model
        if not model:
            raise Refused("No model is loaded. Choose one first.")
        await self._ext.thread(self._choose, model.info.name, name)
        name = client.subject.partition("/")[2]
        context = self._common(await self._ext.thread(self._looked, name))
        self._ext.push_html(self._ext.render("_used.html", **context, oob=True), client, "used")

    async def preview(self, source: str) -> Preview:
        """Render the sample in a sandbox of its own: a bad template holds up no reply."""
        if not source.strip():
            return Preview(error="There is nothing to show. Write a template, or load a model.")
        return await self._ext.thread(self._preview, source)

    # --- inside ------------------------------------------------------------------------

    def _offer_undo(self, text: str, client: Client, **values: Any) -> None:
        """Say what was done with a file, beside a button that brings back what it was."""
        button = {"label": "Undo", "vals": {"action": "prompts.restore", **values}}
        id = f"prompts-{values['kept'][:19]}"
        html = self._ext.render("_undo.html", id=id, text=text, kind="note", button=button)
        self._ext.push_html(html, client)

    def _preview(self, source: str) -> Preview:
        try:
            text = self._sandbox.render(SAMPLE, template=source)
        except Refused as refusal:
            return Preview(error=str(refusal))
        try:
            turns = self._sandbox.render(invented(), template=source, add_generation_prompt=False)
            return Preview(text, stops_in(turns, source))
        except Refused:
            return Preview(text)

    def _looked(self, name: str) -> Looking:
        """That template; without one, or where it is gone, the model's own or what is used."""
        model = self._ext.slot().model
        with suppress(Refused):
            if name:
                return Looking(name, self._library.read(name))
        chosen = self._library.chosen("", model.info if model else None)
        own = model.info.chat_template if model else ""
        return Looking(chosen.name, chosen.source) if chosen.source else Looking("", own)

    def _common(self, looking: Looking) -> dict[str, Any]:
        model = self._ext.slot().model
        listed = self._library.listed()
        mine = next((each for each in listed if each.name == looking.name), None)
        return {
            "listed": listed,
            "name": looking.name,
            "source": looking.source,
            "yours": bool(mine and mine.yours),
            "model": model.info.name if model else "",
            "own": bool(model and model.info.chat_template),
            "chosen": self._library.chosen("", model.info) if model else None,
            "missing": self._library.missing(model.info) if model else "",
            "set": self._ext.settings.templates.get(model.info.name, "") if model else "",
        }
