"""Preset and grammar files in the page: brought in, handed out, deleted, and brought back."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response

from kernel.api import Client, Extension, Refused

from . import presets
from .actions import Bring, Constrain, Delete, Keep, Save, Undelete
from .choices import Choices
from .grammars import Grammars
from .pages import Pages
from .shelf import Shelf

ENDINGS: Mapping[str, str] = {"preset": ".yaml", "grammar": ".gbnf"}


class Files:
    """What can be done with files; each method is the handler of an action."""

    def __init__(
        self, ext: Extension[Any], choices: Choices, grammars: Grammars, pages: Pages
    ) -> None:
        self._ext, self._choices, self._grammars, self._pages = ext, choices, grammars, pages
        self._shelves = {"preset": choices.shelf, "grammar": grammars.shelf}

    async def save(self, action: Save, client: Client) -> None:
        name = await self._ext.thread(self._choices.shelf.named, action.name.strip())
        former = await self._choices.save(name)
        await self._pages.tell_files()
        if not former:
            return self._ext.tell(f"The preset {name} is saved.", client)
        said = f"The preset {name} is saved. What it said before is in the trash."
        self._pages.offer_undo(said, Undelete("preset", former, True), client)

    async def keep(self, action: Keep, client: Client) -> None:
        name = await self._ext.thread(self._grammars.shelf.named, action.name.strip())
        if problems := await self._grammars.keep(name, action.grammar):
            now = self._grammars.now
            typed = Constrain(now.constraint, action.grammar, now.schema)
            return await self._pages.tell_checked(problems, client, typed)
        await self._pages.tell_files()
        self._ext.tell(f"The grammar {name} is saved.", client)

    async def bring(self, action: Bring, client: Client) -> None:
        """Take a file in as it is, if it can be read at all."""
        name, problems = action.name.strip(), list[str]()
        if action.what == "preset":
            found = await self._ext.thread(presets.parse, name, action.text)
            problems += found.problems
        else:
            problems += (await self._grammars.check(action.text, "")).values()
        await self._ext.thread(self._shelves[action.what].bring, name, action.text)
        await self._pages.tell_files()
        self._ext.tell(" ".join([f"The {action.what} {name} is here now.", *problems]), client)

    async def delete(self, action: Delete, client: Client) -> None:
        number = await self._ext.thread(self._shelves[action.what].delete, action.name)
        await self._pages.tell_files()
        said = f"The {action.what} {action.name} was deleted."
        self._pages.offer_undo(said, Undelete(action.what, number), client)

    async def undelete(self, action: Undelete, client: Client) -> None:
        shelf = self._shelves[action.what]
        await self._ext.thread(shelf.undo, action.number, action.instead)
        await self._choices.remember()
        await self._pages.tell_files()

    async def empty(self) -> None:
        for shelf in self._shelves.values():
            await self._ext.thread(shelf.empty)
        await self._pages.tell_files()

    async def serve(self, request: HttpRequest) -> Response:
        """A file as it is, to be kept elsewhere."""
        what, file = request.path_params["what"], request.path_params["file"]
        shelf = self._shelf(what, file)
        if not shelf:
            return PlainTextResponse("There is no such file.", 404)
        try:
            text = await self._ext.thread(shelf.text, file.removesuffix(ENDINGS[what]))
        except (Refused, ValueError) as error:
            return PlainTextResponse(str(error), 404)
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(file, safe='')}"}
        return PlainTextResponse(text, headers=headers)

    def _shelf(self, what: str, file: str) -> Shelf | None:
        return self._shelves.get(what) if file.endswith(ENDINGS.get(what, "\0")) else None
