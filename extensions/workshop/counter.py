"""The counter of the Workshop: one thing at a time comes in, is shown, and is taken or not."""

import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from extensions.workshop.finding import Finding
from kernel.api import Client, Everyone, Extension, Job, Refused, safe_name

if TYPE_CHECKING:
    from extensions.workshop.installer import Installer
    from extensions.workshop.review import Review

LISTENS = (
    "Other machines can reach this server, so extensions are installed at its own keyboard only: "
    "python server.py install. To allow it in the page, start it with --allow-remote-install."
)
FAR = (
    "Extensions are installed on the machine that Spindle runs on: open the page there, or run "
    "python server.py install."
)


class Counter:
    """What is being brought in, for the page."""

    def __init__(self, ext: Extension[Any], finding: Finding, changed: Callable[[], None]) -> None:
        self.review: Review | None = None
        self.busy = ""
        self._ext, self._finding, self._changed = ext, finding, changed
        shutil.rmtree(ext.data / "staging", ignore_errors=True)

    @cached_property
    def installer(self) -> "Installer":
        """Made when it is needed: archives, git and hashes have no part in a start."""
        from extensions.workshop.installer import Installer  # noqa: PLC0415 - 20 ms of a start

        return Installer(self._ext.admin, self._finding)

    def refusal(self, near: bool) -> str:
        """Why a page may not install here, or ""."""
        if self._ext.flag("allow-remote-install"):
            return ""
        return LISTENS if self._ext.flag("listen") else "" if near else FAR

    def admit(self, client: Client) -> None:
        if why := self.refusal(client.near):
            raise Refused(why)

    def fetch(self, address: str) -> None:
        """Look at what an address holds."""
        address = address.strip()
        self.installer.parse(address)
        self._look(f"Fetching {address.rpartition('/')[2].partition('@')[0]}", address)

    async def archive(self, request: Request) -> Response:
        """An archive that was dropped onto the page."""
        if why := self.refusal(request.scope.get("spindle.near", False)):
            return PlainTextResponse(why, 403)
        async with request.form(max_files=1, max_fields=1) as form:
            upload = form.get("archive")
            if not upload or isinstance(upload, str):
                return PlainTextResponse("There is no archive in that. Choose one.", 400)
            try:
                self._free()
                name = safe_name(upload.filename or "")
                if not name.endswith(endings := self.installer.endings):
                    raise Refused(f"An archive ends with {', '.join(endings)}.")
                file = self._ext.data / "arrived" / name
                await self._ext.thread(_keep, upload.file, file)
                self._look(f"Unpacking {name}", str(file), name)
            except (Refused, ValueError) as error:
                self._ext.tell(str(error), Everyone(), "error")
        return Response(status_code=204)

    def update(self, id: str) -> None:
        """Look for a newer version; one that asks for nothing more is installed at once."""
        installer = self.installer

        async def work(job: Job) -> None:
            source = await self._ext.thread(installer.newest, id, job.cancelled)
            shown = await self._ext.thread(installer.fetch, source, job.report, job.cancelled, id)
            if shown.same:
                self._ext.tell(f"{shown.name} {shown.version} is the newest.", Everyone())
            elif shown.grows:
                self.review = shown
            else:
                await installer.use(shown, shown.sha256, job.report)

        self._start(f"Updating {self._ext.admin.name(id)}", work)

    def install(self, consent: str) -> None:
        """Install what is shown, if it is what the person saw."""
        shown = self.review
        if not shown or shown.sha256 != consent:
            raise Refused("That is not what is shown now. Look at it again.")

        async def work(job: Job) -> None:
            self.review = None
            await self.installer.use(shown, consent, job.report)

        self._start(f"Installing {shown.name}", work)

    def dismiss(self) -> None:
        if not self.busy:
            self.review = None
            shutil.rmtree(self.installer.staging, ignore_errors=True)
            self._changed()

    def change(self, title: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Any other change of what is installed."""

        async def run(job: Job) -> None:
            await work()

        self._start(title, run)

    def _look(self, title: str, source: str, called: str = "") -> None:
        async def work(job: Job) -> None:
            words = (source, job.report, job.cancelled, "", called)
            self.review = await self._ext.thread(self.installer.fetch, *words)

        self._start(title, work)

    def _free(self) -> None:
        if self.busy:
            raise Refused(f"One thing at a time: {self.busy}. Try again when that is done.")

    def _start(self, title: str, work: Callable[[Job], Awaitable[Any]]) -> None:
        self._free()
        self.busy = title

        async def run(job: Job) -> None:
            try:
                await work(job)
            finally:
                self.busy = ""
                self._changed()

        self._ext.job(title, run)
        self._changed()


def _keep(upload: Any, file: Path) -> None:
    shutil.rmtree(file.parent, ignore_errors=True)
    file.parent.mkdir(parents=True)
    with suppress(OSError):
        upload.seek(0)
    with file.open("wb") as out:
        shutil.copyfileobj(upload, out)
