"""A tab of free text: what is asked there, and the replies that go on without it."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from kernel.api import Client, Extension, Refused, Turn

from . import actions as a
from .edits import Region, Splice
from .library import BUSY, OUTPUT, TEXT, Library
from .pages import Pages
from .sheet import Sheet

log = logging.getLogger(__name__)

PAUSE = 1 / 30
"""Seconds between two pieces of a reply on its way to pages, at least."""
BROKEN = "Spindle failed at this text; its log says how. Try again."
NOTHING = "The model has nothing to add: it says that the text is complete."
DELETED = "“{}” was deleted."
Room = Callable[[Region], None]


class Desk:
    """What a person can do with a text; one method for each thing."""

    def __init__(self, ext: Extension[Any], library: Library, pages: Pages) -> None:
        self._ext, self._library, self._pages = ext, library, pages

    async def edit(self, action: a.Edit, client: Client) -> None:
        sheet = await self._sheet(action.name, action.box)
        change = Splice(action.at, action.cut, action.put)
        if action.id in sheet.taken:
            return self._pages.tell_whole(sheet, client)
        try:
            known = sheet.edit(action.revision, change, action.id, client.id)
        except Refused:
            self._pages.tell_stuck(sheet, client, action.id)
            raise
        if not known:
            self._pages.tell_whole(sheet, client, action.id or "-")

    async def generate(self, action: a.Generate, client: Client) -> None:
        sheet = await self._free(action.name)
        if not self._pages.two:
            return self._begin(sheet, client, "generate")
        output, prompt = await self._free(action.name, OUTPUT), sheet.text
        room = partial(output.begin_with, prompt, output.text)
        self._begin(output, client, "generate", prompt, room)

    async def go_on(self, action: a.Continue_, client: Client) -> None:
        """What came out is what goes in; where nothing came out yet, the text does."""
        text = await self._free(action.name)
        output = await self._free(action.name, OUTPUT)
        if not output.text:
            output.replace(text.text)
        self._begin(output, client, "continue_")

    async def regenerate(self, action: a.Regenerate, client: Client) -> None:
        sheet = await self._free(action.name)
        last = sheet.last
        prompt = last.cut.on(sheet.text)
        self._begin(sheet, client, "regenerate", prompt, lambda _: sheet.remove(last))

    async def undo(self, action: a.Undo, client: Client) -> None:
        sheet = await self._free(action.name)
        sheet.undo()
        sheet.error = ""
        sheet.tell()

    async def stop(self, action: a.Stop, client: Client) -> None:
        for box in (TEXT, OUTPUT):
            if sheet := self._library.known(action.name, box):
                sheet.stop()

    # --- sub-tabs ----------------------------------------------------------------------

    async def show(self, action: a.Show, client: Client) -> None:
        if looks := self._pages.looks.get(client):
            looks.view = action.view
            if action.view == "tokens":
                await self._pages.views.ask_tokens(looks, await self._sheet(action.name))
            await self._pages.show(client, action.name)

    async def logits(self, action: a.Logits, client: Client) -> None:
        if looks := self._pages.looks.get(client):
            sheet = await self._sheet(action.name)
            await self._pages.views.ask_logits(looks, sheet, client, action.samplers, action.top)
            await self._pages.show(client, action.name)

    async def tokens(self, action: a.Tokens, client: Client) -> None:
        if looks := self._pages.looks.get(client):
            await self._pages.views.ask_tokens(looks, await self._sheet(action.name))
            await self._pages.show(client, action.name)

    # --- files -------------------------------------------------------------------------

    async def new(self, action: a.New, client: Client) -> None:
        await self._pages.draw(client, await self._library.new(""))

    async def take(self, text: str, client: Client, name: str = "") -> None:
        """Begin a text with these words, and show it to who asked."""
        await self._pages.move(client, await self._library.new(text, name))

    async def rename(self, action: a.Rename, client: Client) -> None:
        await self._library.rename(action.name, action.title)

    async def delete(self, action: a.Delete, client: Client) -> None:
        id = await self._library.delete(action.name)
        vals = {"action": f"{self._ext.id}.undelete", "id": id}
        self._pages.offer_undo(DELETED.format(action.name), client, vals)

    async def undelete(self, action: a.Undelete, client: Client) -> None:
        await self._pages.move(client, await self._library.undelete(action.id))

    # --- inside ------------------------------------------------------------------------

    async def _sheet(self, name: str, box: str = TEXT) -> Sheet:
        return self._library.known(name, box) or await self._library.sheet(name, box)

    async def _free(self, name: str, box: str = TEXT) -> Sheet:
        """A text that nobody writes at present."""
        sheet = await self._sheet(name, box)
        if sheet.busy:
            raise Refused(BUSY)
        return sheet

    def _begin(
        self,
        sheet: Sheet,
        client: Client,
        again: str,
        prompt: str | None = None,
        room: Room | None = None,
    ) -> None:
        """Let the model write on, or after a prompt, which `room` makes of the text once there is
        a word; that is the server's work, whatever becomes of the page."""
        prompt = sheet.text if prompt is None else prompt
        turn = Turn(prompt=prompt, client=client.id, principal=client.principal)
        sheet.busy, sheet.error, sheet.again = True, "", again
        pen = Pen(sheet, room)
        sheet.tell()
        task = self._ext.spawn(self._write(sheet, pen, turn), f"writing {sheet.name}")
        task.add_done_callback(lambda task: self._never(sheet, pen) if task.cancelled() else None)

    def _never(self, sheet: Sheet, pen: "Pen") -> None:
        """The extension was switched off before the first step of `_write`."""
        pen.close()
        sheet.busy, sheet.error = False, self._ext.why
        sheet.tell()

    async def _write(self, sheet: Sheet, pen: "Pen", turn: Turn) -> None:
        reply = sheet.reply = self._ext.run(turn)
        try:
            async for delta in reply:
                if delta.channel != "text" or delta.choice:
                    continue
                if delta.replace:
                    pen.instead(delta.text)
                else:
                    pen.write(delta.text)
            if reply.finish:
                sheet.error = reply.finish.error
                if reply.finish.reason == "stop" and not reply.text:
                    self._pages.tell(sheet.name, NOTHING)
        except asyncio.CancelledError:
            sheet.error = self._ext.why
        except Exception:
            log.exception("A text could not be written")
            reply.cancel()
            sheet.error = BROKEN
        finally:
            pen.close()
            sheet.busy, sheet.reply = False, None
            sheet.tell()


class Pen:
    """Writes what a model says into a text: its first word at once, then 30 times a second. What
    is to make `room` for it stays until there is one."""

    def __init__(self, sheet: Sheet, room: Room | None) -> None:
        self._sheet, self._region, self._words = sheet, sheet.begin(), ""
        self._room = room
        self._loop, self._due = asyncio.get_running_loop(), 0.0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, words: str) -> None:
        self._words += words
        if self._loop.time() >= self._due:
            self.flush()
        elif not self._timer:
            self._timer = self._loop.call_at(self._due, self.flush)

    def instead(self, words: str) -> None:
        """A modifier replaced all that was said."""
        self._words = ""
        if words:
            self._make_room()
        self._sheet.rewrite(self._region, words)

    def flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._words:
            self._make_room()
            words, self._words = self._words, ""
            self._sheet.append(self._region, words)
        self._due = self._loop.time() + PAUSE

    def close(self) -> None:
        self.flush()
        if self._room:  # What stayed is what was generated last.
            self._sheet.remove(self._region)

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room:
            room(self._region)
