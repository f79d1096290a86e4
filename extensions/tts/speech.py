"""Clips made by espeak-ng: named, served, and gone after a while."""

import asyncio
import re
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse

from kernel.api import NotAvailable, safe_path

MISSING = (
    "The program espeak-ng is missing. Run: sudo apt install espeak-ng "
    "(macOS: brew install espeak-ng; Windows: winget install eSpeak-NG.eSpeak-NG)"
)
WINDOWS = r"C:\Program Files\eSpeak NG"
"""Where its installer puts it, without telling the system."""
KEPT, SECONDS = 100, 600
LONGEST = 2000
"""Characters of one clip."""
SILENT = re.compile(
    r"```.*?(```|\Z)|<[^>]*>|https?://\S+|(?<=\])\([^)]*\)|[*_`#>|~\[\]]+", re.DOTALL
)


def spoken(text: str) -> str:
    """The words of markdown that one would say."""
    return " ".join(SILENT.sub(" ", text).split())


class Speech:
    """Speaks into files of a folder of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._one = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> "AsyncIterator[Speech]":
        """Raises NotAvailable, with the command to run, where there is no espeak-ng."""
        windows = WINDOWS if sys.platform == "win32" else None
        found = shutil.which("espeak-ng") or (windows and shutil.which("espeak-ng", path=windows))
        if not (program := found):
            raise NotAvailable(MISSING)
        shutil.rmtree(folder, ignore_errors=True)
        await asyncio.to_thread(folder.mkdir, parents=True)
        try:
            yield cls(program, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def say(self, text: str, voice: str, speed: int) -> str:
        """Make a clip; answers its name, or nothing where there is nothing to say."""
        return await self._clip(spoken(text)[:LONGEST], voice, speed)

    async def recorded(self, words: str, voice: str, speed: int) -> bytes:
        """The recording of a whole text, as it is, or nothing where there is nothing to say."""
        if not (name := await self._clip(words, voice, speed)):
            return b""
        file = self._folder / name
        try:
            return await asyncio.to_thread(file.read_bytes)
        finally:
            file.unlink(missing_ok=True)

    async def _clip(self, words: str, voice: str, speed: int) -> str:
        if not re.search(r"\w", words):
            return ""
        name = f"{secrets.token_hex(8)}.wav"
        async with self._one:  # one at a time, in the order of the sentences
            self._forget_old()
            command = ("-v", voice, "-s", str(speed), "-w", str(self._folder / name), "--stdin")
            process = await asyncio.create_subprocess_exec(
                self._program, *command, stdin=-1, stderr=-1
            )
            try:
                async with asyncio.timeout(20):
                    _, problem = await process.communicate(words.encode(errors="replace"))
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode:
            raise RuntimeError(
                f"espeak-ng failed: {problem.decode(errors='replace').strip()[:200]}"
            )
        return name

    async def serve(self, request: Request) -> FileResponse:
        try:
            file = safe_path(self._folder, request.path_params["name"])
        except ValueError:
            raise HTTPException(404, "There is no such clip.") from None
        if not file.is_file():
            raise HTTPException(404, "This clip is gone. Press Read aloud again.")
        return FileResponse(file, media_type="audio/wav")

    def _forget_old(self) -> None:
        clips = sorted(self._folder.glob("*.wav"), key=lambda clip: clip.stat().st_mtime)
        old = [clip for clip in clips if clip.stat().st_mtime < time.time() - SECONDS]
        for clip in {*old, *clips[: max(0, len(clips) + 1 - KEPT)]}:
            clip.unlink(missing_ok=True)
