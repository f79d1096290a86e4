"""Models that a page sends: piece by piece into a hidden folder, and in their place when whole."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from extensions.models.headers import Headers
from extensions.models.tree import WEIGHTS
from extensions.models.views import size_in_words
from kernel.api import Everyone, Extension, Job, Meta, Refused, Struct, built, safe_name, safe_path

HIDDEN = ".uploads"
"""Below models/; what lies in a hidden folder is listed by nobody."""
MOST, AT_ONCE, DEEPEST = 2000, 8, 8
"""Files of one model, models on their way, folders in one."""
SPARE = 64 << 20
"""Bytes that are left free on the disk."""
PATIENCE = 120.0
"""Seconds without a piece after which a page counts as gone."""
OLD = 86_400
"""Seconds after which what a crash left behind is taken away."""
BLOCK, FLUSH = 1 << 20, 256 << 20
"""Bytes that are written at once, and after which they are sure to be on the disk."""


class Part(Struct, frozen=True):
    """A file to be sent: its name, below the model's folder where it is one, and its bytes."""

    path: Annotated[str, Meta(max_length=2000)]
    size: Annotated[int, Meta(ge=0, le=1 << 44)]


@built
class Offer(Struct, frozen=True):
    """One file, or all files of one folder."""

    files: Annotated[list[Part], Meta(min_length=1, max_length=MOST)]


class Upload:
    """One model on its way."""

    def __init__(self, home: Path, parts: Sequence[Part]) -> None:
        self.home, self.name, self.parts = home, parts[0].path.partition("/")[0], parts
        self.total = sum(part.size for part in parts)
        self.got = [0] * len(parts)
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard = time.monotonic()
        self.writing: set[int] = set()

    @property
    def staged(self) -> Path:
        """What is moved when all is there."""
        return self.home / self.name

    def path(self, number: int) -> Path:
        return self.home.joinpath(*self.parts[number].path.split("/"))

    def heard_of(self, number: int, size: int) -> None:
        self.got[number] += size
        self.heard = time.monotonic()
        if sum(self.got) == self.total and not self.whole.done():
            self.whole.set_result(None)


class Uploads:
    """The routes of uploads; `arrived` is told when a model is in its place."""

    def __init__(self, ext: Extension[Any], arrived: Callable[[], Awaitable[None]]) -> None:
        self._ext, self._arrived = ext, arrived
        self._root = ext.models / HIDDEN
        self._live: dict[str, Upload] = {}

    def clear(self) -> None:
        """Take away what a crash left behind; blocking."""
        for home in self._root.glob("*") if self._root.is_dir() else ():
            if time.time() - home.stat().st_mtime > OLD:
                shutil.rmtree(home, ignore_errors=True)

    async def begin(self, request: Request) -> Response:
        """POST: an `Offer`; answers the id under which its pieces are sent."""
        try:
            parts = msgspec.json.decode(await request.body(), type=Offer).files
            upload = Upload(await self._ext.thread(self._prepared, parts), parts)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return PlainTextResponse(str(error), 400)
        except (Refused, ValueError, OSError) as error:
            self._ext.tell(f"{error}", Everyone(), "error")
            return PlainTextResponse(f"{error}", 409)
        self._live[upload.home.name] = upload
        self._ext.job(f"Adding {upload.name}", lambda job: self._run(job, upload))
        return PlainTextResponse(upload.home.name, 201)

    async def piece(self, request: Request) -> Response:
        """PUT: the bytes of one file from `at` on; answers 409 with where it should go on."""
        upload = self._live.get(request.path_params["id"])
        number, at = request.path_params["number"], request.query_params.get("at", "")
        if not upload or not number < len(upload.parts) or not at.isdecimal():
            return PlainTextResponse("There is no such upload any more.", 404)
        if upload.got[number] != int(at) or number in upload.writing:
            return PlainTextResponse(str(upload.got[number]), 409)
        upload.writing.add(number)
        try:
            await self._write(request, upload, number)
        except ClientDisconnect:
            return Response(status_code=400)
        except (OSError, Refused) as error:
            self._fail(upload, error)
            return PlainTextResponse(f"{error}", 409)
        finally:
            upload.writing.discard(number)
        return Response(status_code=204)

    # --- inside -------------------------------------------------------------------------

    def _prepared(self, parts: Sequence[Part]) -> Path:
        """Check names, place and room, and make the hidden folder with empty files; blocking."""
        names = [[safe_name(each) for each in part.path.split("/")] for part in parts]
        name = names[0][0]
        if len(self._live) >= AT_ONCE:
            raise Refused(f"{AT_ONCE} models are on their way. Wait until one of them is here.")
        if any(each[0] != name or len(each) > DEEPEST for each in names):
            raise Refused(f"{name} has too many folders in folders. Send its files alone.")
        if len({part.path.lower() for part in parts}) < len(parts):
            raise Refused(f"{name} has two files of one name. Rename one of them.")
        if not any(looks_like_one(each[-1]) for each in names):
            raise Refused(
                f"{name} is no model. Drop a GGUF file, or a folder with safetensors files."
            )
        for place in (self._ext.models, self._ext.loras):
            if safe_path(place, name).exists():
                raise Refused(f"There is already {name} in {place.name}/. Rename one of them.")
        self._ext.models.mkdir(parents=True, exist_ok=True)
        check_room(self._ext.models, sum(part.size for part in parts), name)
        home = self._root / secrets.token_hex(8)
        for each in names:
            path = safe_path(home, *each)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        return home

    async def _write(self, request: Request, upload: Upload, number: int) -> None:
        """Write what comes, a block at a time: nothing is held in memory."""
        path, block = upload.path(number), bytearray()
        async for chunk in request.stream():
            block += chunk
            if len(block) >= BLOCK:
                await self._append(upload, number, path, block)
                block = bytearray()
        if block:
            await self._append(upload, number, path, block)

    async def _append(self, upload: Upload, number: int, path: Path, block: bytearray) -> None:
        if upload.got[number] + len(block) > upload.parts[number].size:
            raise Refused(f"{upload.name} is larger than the page said. Drop it again.")
        if upload.whole.done():
            raise Refused(f"{upload.name} is not wanted any more.")
        await self._ext.thread(append, path, block)
        upload.heard_of(number, len(block))

    def _fail(self, upload: Upload, error: Exception) -> None:
        if not upload.whole.done():
            said = getattr(error, "strerror", "") or f"{error}"
            why = f"{upload.name} could not be written ({said}). Make room, and drop it again."
            upload.whole.set_exception(error if isinstance(error, Refused) else Refused(why))

    async def _run(self, job: Job, upload: Upload) -> None:
        """The job: its bar, its end, and that nothing is left behind."""
        size = size_in_words(upload.total)
        try:
            while not upload.whole.done():
                got = sum(upload.got)
                job.report(got / upload.total, f"{size_in_words(got)} of {size}")
                await asyncio.wait({upload.whole}, timeout=0.25)
                if time.monotonic() - upload.heard > PATIENCE:
                    raise Refused("The page sends nothing any more. Drop the model again.")
            upload.whole.result()
            job.report(1, "Putting it in its place")
            place = await self._ext.thread(self._publish, upload)
            adapter = " is a LoRA adapter, and" if place == self._ext.loras else ""
            self._ext.tell(f"{upload.name}{adapter} was put into {place.name}/.", Everyone())
        finally:
            self._live.pop(upload.home.name, None)
            upload.whole.cancel()
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, upload.home, ignore_errors=True))
        await self._arrived()

    def _publish(self, upload: Upload) -> Path:
        """Move it where it belongs, in one step, when all of it is on the disk; blocking."""
        for number in range(len(upload.parts)):
            kept(upload.path(number))
        place = self._ext.loras if is_adapter(upload.staged) else self._ext.models
        place.mkdir(parents=True, exist_ok=True)
        target = safe_path(place, upload.name)
        if target.exists():
            raise Refused(f"There is already {upload.name} in {place.name}/. Rename one of them.")
        shutil.move(upload.staged, target)
        return place


def looks_like_one(name: str) -> bool:
    """Whether a file is a part of a model, by its name."""
    return name.lower().endswith(WEIGHTS)


def check_room(folder: Path, size: int, name: str) -> None:
    """Raises Refused where the disk has no room for so many bytes."""
    if not size:
        raise Refused(f"{name} is empty. Download it again.")
    free = shutil.disk_usage(folder).free - SPARE
    if size > free:
        raise Refused(
            f"{name} needs {size_in_words(size)}, and the disk of {folder.name}/ has "
            f"{size_in_words(max(0, free))} left. Make room, and drop it again."
        )


def append(path: Path, block: bytearray) -> None:
    """Add to a file, and have the system write it out now and then: not all of it at the end."""
    with path.open("ab") as file:
        file.write(block)
        if file.tell() // FLUSH != (file.tell() - len(block)) // FLUSH:
            file.flush()
            os.fsync(file.fileno())


def kept(path: Path) -> None:
    """Have the system write out what it still holds of a file."""
    with path.open("ab") as file:
        os.fsync(file.fileno())


def is_adapter(path: Path) -> bool:
    """Whether what arrived belongs to a model, in loras/."""
    if path.is_dir():
        return (path / "adapter_config.json").is_file()
    headers = Headers()
    try:
        return headers.read(path).role == "adapter"
    finally:
        headers.close()
