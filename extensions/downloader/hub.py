"""Asks the hub, through a worker that knows its ways, and only as long as somebody asks."""

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from kernel.api import Extension, Refused, Worker, WorkerDied, WorkerError

from .plan import HUB, Found, Repository

CODE = "worker.py:Hub"
IDLE = 120.0
"""Seconds after the last question until the worker gives its memory back."""
PATIENCE = 60.0
"""Seconds that an answer may take."""
RESULTS = 30
"""Repositories of one search."""
Where = tuple[str, str]
"""The address of a hub, and the token that it is told."""


class Hub:
    """The hub that the settings name, or a mirror that a link led to."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext
        self._worker: Worker | None = None
        self._starting, self._asking = asyncio.Lock(), 0
        self._idle: asyncio.TimerHandle | None = None
        ext.defer(self.close)

    @property
    def endpoint(self) -> str:
        """Where models are looked for."""
        return endpoint_of(self._ext.settings.endpoint)

    def where(self, endpoint: str = "") -> Where:
        """A hub, and what it may know: the token goes to the one that the user named alone."""
        own = self.endpoint
        if endpoint and endpoint != own:
            return endpoint, ""
        return own, token_of(self._ext.settings.token.reveal())

    async def repository(self, repo: str, revision: str, endpoint: str = "") -> Repository:
        """What a repository holds; raises Refused."""
        said = await self.ask("repository", endpoint, repo=repo, revision=revision)
        return msgspec.convert(said, Repository)

    async def search(self, query: str) -> list[Found]:
        """The repositories that fit, the most downloaded first; raises Refused."""
        said = await self.ask("search", "", query=query, limit=RESULTS)
        return msgspec.convert(said, list[Found])

    async def card(self, repo: str, revision: str, endpoint: str = "") -> str:
        """The text of its README.md; raises Refused."""
        return str(await self.ask("card", endpoint, repo=repo, revision=revision))

    async def ask(self, name: str, endpoint: str, **data: Any) -> Any:
        """One of the worker's calls; raises Refused."""
        if self._idle:
            self._idle.cancel()
        address, token = self.where(endpoint)
        self._asking += 1
        try:
            worker = await self._started()
            async with asyncio.timeout(PATIENCE):
                return await worker.call(name, endpoint=address, token=token, **data)
        except TimeoutError:
            raise Refused(f"{address} does not answer. Try again later.") from None
        except (WorkerError, WorkerDied) as error:
            raise Refused(str(error)) from error
        finally:
            self._asking -= 1
            if not self._asking:
                loop = asyncio.get_running_loop()
                self._idle = loop.call_later(IDLE, self._rest)

    async def close(self) -> None:
        """End the worker."""
        if self._idle:
            self._idle.cancel()
        worker, self._worker = self._worker, None
        if worker:
            await worker.close()

    async def _started(self) -> Worker:
        async with self._starting:
            if not self._worker or self._worker.died.done():
                self._worker = await self._ext.worker(CODE, env={"HF_HUB_OFFLINE": "0"})
            return self._worker

    def _rest(self) -> None:
        if not self._asking and self._worker:
            self._ext.spawn(self.close(), "rest")


def endpoint_of(setting: str) -> str:
    """The address in the settings, or in HF_ENDPOINT, or the hub's own."""
    for named in (setting, os.environ.get("HF_ENDPOINT", "")):
        address = named.strip().rstrip("/")
        with suppress(ValueError):
            parts = urlsplit(address)
            if parts.scheme in ("http", "https") and parts.hostname and not parts.query:
                return address
    return HUB


def xet_of(setting: str) -> bool:
    """Whether Xet's client may be used: by the settings, and by huggingface_hub's own variable."""
    off = os.environ.get("HF_HUB_DISABLE_XET", "").upper() in ("1", "ON", "YES", "TRUE")
    return setting == "auto" and not off


def token_of(setting: str) -> str:
    """The token in the settings, or where huggingface_hub has it: HF_TOKEN, or its file."""
    named = setting or os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    if named.strip():
        return visible(named)
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    file = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
    with suppress(OSError, UnicodeError, ValueError):
        if file.stat().st_size < 1000:
            return visible(file.read_text("utf-8"))
    return ""


def visible(token: str) -> str:
    """Its first line, without what is not seen and was pasted along: no header takes that."""
    return "".join(re.findall("[!-~]", token.strip().partition("\n")[0]))
