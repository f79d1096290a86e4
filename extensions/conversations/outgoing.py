"""Conversations on their way out: one as a file, all as an archive made as it goes."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from kernel.api import Extension, Struct, safe_name

from .records import Unknown
from .store import Store
from .tree import ALL
from .whole import Whole


class Form(Struct, frozen=True):
    """A form in which a conversation can be had."""

    label: str
    ending: str
    media_type: str
    writer: str
    """The module in `forms`, which is imported when it is asked for, and its function."""

    def found(self) -> Callable[[Whole], bytes]:
        """The function itself."""
        module, _, function = self.writer.partition(".")
        return getattr(import_module(f".forms.{module}", __package__), function)


FORMS: Mapping[str, Form] = {
    "spindle": Form("Spindle: everything", ".spindle.json", "application/json", "ours.write"),
    "webui": Form("text-generation-webui", ".json", "application/json", "webui.write"),
    "sillytavern": Form("SillyTavern", ".jsonl", "application/x-ndjson", "tavern.write"),
    "markdown": Form("Markdown", ".md", "text/markdown; charset=utf-8", "prose.markdown"),
    "text": Form("Plain text", ".txt", "text/plain; charset=utf-8", "prose.text"),
}


class Outgoing:
    """Answers the addresses where conversations are had."""

    def __init__(self, ext: Extension[Any], store: Store) -> None:
        self._ext, self._store = ext, store

    async def one(self, request: Request) -> Response:
        """A conversation in one of the forms."""
        form = FORMS.get(request.path_params["form"])
        if not form:
            return PlainTextResponse("There is no such form. Choose one in the page.", 404)
        try:
            whole = await self._store.whole(request.path_params["id"])
        except Unknown as error:
            return PlainTextResponse(str(error), 404)
        data = await self._ext.thread(form.found(), whole)
        return Response(data, headers=_named(file_name(whole.title, form.ending), form.media_type))

    async def all(self, request: Request) -> Response:
        """All conversations as a zip archive, folders as folders."""
        form = FORMS.get(request.query_params.get("form", "spindle"))
        if not form:
            return PlainTextResponse("There is no such form. Choose one in the page.", 404)
        headers = _named("Spindle conversations.zip", "application/zip")
        return StreamingResponse(self._zipped(form), headers=headers)

    async def _zipped(self, form: Form) -> AsyncIterator[bytes]:
        import zipfile  # noqa: PLC0415 - 2 ms of every start

        pieces, used, write = _Pieces(), set[str](), form.found()
        ids = [kept.id for kept in await self._store.list(ALL)]  # Who is written to moves up in it.
        with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
            for id in ids:
                try:
                    whole = await self._store.whole(id)
                except Unknown:  # Deleted meanwhile.
                    continue
                data = await self._ext.thread(write, whole)
                name = _free(_path(whole, form.ending), form.ending, used)
                await self._ext.thread(archive.writestr, name, data)
                yield pieces.take()
        yield pieces.take()


class _Pieces:
    """What a zip archive is written to: it cannot go back, and gives away what it has."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def file_name(title: str, ending: str) -> str:
    """A title as the name of a file on every system."""
    words = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f%∕⁄⧵⧸∖／＼：�\u2028\u2029]', " ", title)  # noqa: RUF001
    words = " ".join(words.split()).strip(".-~ ")[:80].rstrip(". ")
    try:
        return safe_name((words or "Conversation") + ending)
    except ValueError:
        return "Conversation" + ending


def _path(whole: Whole, ending: str) -> str:
    folders = [file_name(name, "") for name in whole.folder.split("/") if name]
    return "/".join([*folders, file_name(whole.title, ending)])


def _free(path: str, ending: str, used: set[str]) -> str:
    """The path with a number, if there is one like it already."""
    stem, number, name = path.removesuffix(ending), 1, path
    while name.casefold() in used:
        number += 1
        name = f"{stem} ({number}){ending}"
    used.add(name.casefold())
    return name


def _named(name: str, media_type: str) -> dict[str, str]:
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return {
        "content-type": media_type,
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
    }
