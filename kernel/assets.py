"""The page's own files, and what extensions bring for it: styles in one file, scripts by name."""

import hashlib
import mimetypes
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from kernel.names import UnsafeName, safe_name
from kernel.records import Record, Status
from kernel.remembered import Remembered

if sys.platform == "win32":  # What its registry says of them, another program may have written.
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("text/css", ".css")
    mimetypes.add_type("image/svg+xml", ".svg")

COMMENT = r"(/\*.*?(?:\*/|(\Z)))"  # perhaps without an end, as the next
STRINGS = [r"Q[^Q\\\n\r\f]*(?:\\.[^Q\\\n\r\f]*)*(?:Q|())".replace("Q", quote) for quote in "\"'"]
ADDRESS = r"""[^\s"'()\\]*|"[^"\\\n\r\f]*"|'[^'\\\n\r\f]*'"""
URL = rf"""(?<![\w-])url\(\s*(?=["']?(?:data:|https?:|/|\#))(?:{ADDRESS})\s*\)"""
APART = re.compile("|".join((COMMENT, URL, *STRINGS)), re.DOTALL | re.IGNORECASE)
PAIR = re.compile(r"\([^][(){}]*\)|\[[^][(){}]*\]|(\{[^][(){}]*\})")
ALONE = re.compile(r"[\"'\\]|@(?:import|charset|namespace)|(?:url|src|image(?:-set)?)\(", re.I)
STATEMENT = re.compile(r"([^\0;]*)(\0|;|\Z)")


def joins(css: str) -> bool:
    """Whether a style can stand between others: all that it opens it closes, and it has nothing
    that is good only at the beginning of a file, or that is found from its own folder."""
    if len(css) > 1 << 18 or "\0" in css:  # In a moment, whatever it is.
        return False
    rest = APART.sub(lambda it: '"' if "" in it.groups() else " " if it[1] else "x", css)
    if ALONE.search(rest):
        return False
    for _ in range(32):  # levels
        rest, pairs = PAIR.subn(lambda it: "\0" if it[1] else "x", rest)
        if not pairs:
            break
    ends = {"\0": r"[^][(){}]*", ";": r"\s*@[^][(){}]*", "": r"\s*"}
    return all(re.fullmatch(ends[end], said) for said, end in STATEMENT.findall(rest))


class Static(StaticFiles):
    """The folder `static/`, of which the folder `page` is served as one script, page.js."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path != "page.js" or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        script = await run_in_threadpool(self._page)
        etag = f'"{hashlib.sha256(script).hexdigest()[:16]}"'
        answer = Response(script, 200, {"ETag": etag}, "text/javascript")
        known = self.is_not_modified(answer.headers, Headers(scope=scope))
        return NotModifiedResponse(answer.headers) if known else answer

    def _page(self) -> bytes:
        """In a block, for the names of a plain script are everybody's."""
        parts = sorted(Path(str(self.directory), "page").glob("*.js"))
        return b"\n".join([b"'use strict';{", *(part.read_bytes() for part in parts), b"}"])


class Assets:
    """The files `static/…` of the running extensions."""

    def __init__(self, records: Mapping[str, Record], memory: Remembered) -> None:
        self._records, self._memory = records, memory
        self._read: dict[str, tuple[str, str | None]] = {}

    def answer(self, scope: Scope) -> Response | None:
        """What a request below /ext/ gets, if it is for one of them."""
        rest = str(scope["path"]).removeprefix("/ext/")
        if rest != "styles.css":
            return FileResponse(file) if (file := self.file(rest)) else None
        css, digest = self._bundle()
        newest = scope["query_string"] == f"v={digest}".encode()
        kept = "private, max-age=31536000, immutable" if newest else "no-cache"
        return Response(css, 200, {"ETag": f'"{digest}"', "Cache-Control": kept}, "text/css")

    def file(self, rest: str) -> Path | None:
        """`<id>/static/<file>` of a running extension."""
        id, _, name = rest.partition("/static/")
        record = self._records.get(id)
        if not name or not record or not _brings(record):
            return None
        folder = (record.folder / "static").resolve()
        try:  # Resolved once: what is checked is what is opened.
            file = folder.joinpath(*map(safe_name, name.split("/"))).resolve()
        except UnsafeName:
            return None
        return file if file.is_relative_to(folder) and file.is_file() else None

    def styles(self) -> list[str]:
        """The addresses of the styles: one of all that join, then each that does not."""
        alone = [address for _, address, css in self.found(".css") if css is None]
        return [f"/ext/styles.css?v={self._bundle()[1]}", *alone]

    def _bundle(self) -> tuple[bytes, str]:
        css = "\n".join(css for _, _, css in self.found(".css") if css is not None).encode()
        return css, hashlib.sha256(css).hexdigest()[:16]

    def found(self, suffix: str) -> Iterator[tuple[str, str, str | None]]:
        """Each `static/<id><suffix>`: id, address, and its text if it need not be loaded as it is:
        a style that joins, a script that waits for an element of its own."""
        for id, record in [pair for pair in self._records.items() if _brings(pair[1])]:
            name = f"/static/{id}{suffix}"
            place = f"{record.folder}{name}"
            try:  # Every page asks for all of them: a file that stays costs one look at the disk.
                now = os.stat(place)
            except OSError:
                continue
            version = f"{now.st_mtime_ns:x}-{now.st_size:x}"  # times are coarse
            known = self._read.get(name)
            if not known or known[0] != f"{place}?{version}":
                if not (file := self.file(id + name)):
                    continue
                text = None
                with suppress(OSError, UnicodeDecodeError):
                    text = file.read_bytes().decode("utf-8-sig")
                fits = text is not None and (
                    self._memory.made(joins, text)
                    if suffix == ".css"
                    else "customElements.define(" in text
                )
                known = self._read[name] = f"{place}?{version}", text if fits else None
            yield id, f"/ext/{id}/static/{id}{suffix}?v={version}", known[1]


def _brings(record: Record) -> bool:
    """Whether it runs, or starts late: what pages load does not change right after the first."""
    late = bool(record.manifest and record.manifest.late)
    return record.is_(Status.RUNNING) or (late and record.is_(Status.STARTING))
