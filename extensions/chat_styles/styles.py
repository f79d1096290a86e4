"""The styles there are: files that come along, and the user's own, read as they are."""

from contextlib import suppress
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kernel.api import Refused, safe_path

PLAIN = "plain"
LARGEST = 1_000_000
"""Bytes of a style."""


class Styles:
    """Files of CSS by their names; the user's own come first."""

    def __init__(self, shipped: Path, own: Path) -> None:
        self._shipped, self.own = shipped, own

    def names(self) -> list[str]:
        """All names in the order of the list: plain, what comes along, the user's own."""
        with suppress(OSError):  # Where nothing can be written there is nothing to look for.
            self.own.mkdir(parents=True, exist_ok=True)
        found = [sorted(file.stem for file in folder.glob("*.css")) for folder in self._folders()]
        return list(dict.fromkeys([PLAIN, *found[1], *found[0]]))

    def address(self, name: str) -> str:
        """Where a page finds a style, anew after each change of the file; "" for none."""
        try:
            file = self._file(name)
            return f"/ext/chat_styles/{file.stem}.css?v={file.stat().st_mtime_ns}"
        except (Refused, OSError):
            return ""

    async def serve(self, request: Request) -> Response:
        """A style as the page loads it."""
        name = request.path_params["name"].removesuffix(".css")
        try:
            css = self._file(name).read_bytes()[:LARGEST]
        except (Refused, OSError):
            return PlainTextResponse("There is no such style.", 404)
        return Response(css, media_type="text/css")

    def _folders(self) -> tuple[Path, Path]:
        return self.own, self._shipped

    def _file(self, name: str) -> Path:
        for folder in self._folders():
            with suppress(ValueError):
                if (file := safe_path(folder, f"{name}.css")).is_file():
                    return file
        raise Refused(f"There is no style {name!r}. Choose another one in Settings, Chat styles.")
