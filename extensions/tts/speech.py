"""Clips made by espeak-ng: named, served, and gone after a while."""

import asyncio
import re
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kernel.api import NotAvailable, Struct

MISSING = (
    "The program espeak-ng is missing. Run: sudo apt install espeak-ng "
    "(macOS: brew install espeak-ng; Windows: winget install eSpeak-NG.eSpeak-NG)"
)
WINDOWS = r"C:\Program Files\eSpeak NG"
"""Where its installer puts it, without telling the system."""
KEPT, SECONDS = 64 << 20, 600
"""Bytes of all clips, some 25 minutes; and how long each of them stays."""
PATIENCE = 20
"""Seconds in which a clip must be made."""
SILENT = re.compile(
    r"(?m:^)```.*?(?:```|\Z)|```.*?```|<?https?://\S+"
    r"|<!--.*?-->|</?[A-Za-z][\w-]*(?:\s[^<>]*=[^<>]*)?\s*/?>"
    r"|(?<=\])\((?:[^()]|\([^()]*\))*\)"
    r"|(?m:^)[ \t]*>[> \t]*|(?<=\S)>|[*_`#|~\[\]]+",
    re.DOTALL,
)
"""Code, addresses, tags (“x < y and y > z” is none), where links lead, and marks."""
FENCE = re.compile(r"\s*(?:[-*+>]\s*)*(`{3,}|~{3,})([^`]*)\Z")
"""A line that begins or ends a block of code, perhaps in a list or a quotation."""


def spoken(text: str) -> str:
    """The words of markdown that one would say."""
    return " ".join(SILENT.sub(" ", text).split())


async def without_code(sentences: AsyncIterator[str]) -> AsyncIterator[str]:
    """Sentences without what stands in blocks of code, of which each line ends a sentence."""
    fence = ""
    async for sentence in sentences:
        line = FENCE.match(sentence)
        if not fence and not line:
            yield sentence
        elif not fence and line:
            fence = line[1]
        elif line and line[1].startswith(fence) and not line[2].strip():
            fence = ""


class Clip(Struct, frozen=True):
    """A recording, when it was made (monotonic), and whether a page took it or it is gone."""

    wav: bytes
    made: float
    taken: asyncio.Event


class Speech:
    """Speaks into memory alone: what is said may be of a conversation that no disk must have."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._clips: dict[str, Clip] = {}
        """By their names, the oldest first."""
        self._one = asyncio.Lock()

    @classmethod
    def found(cls) -> "Speech":
        """Raises NotAvailable, with the command to run, where there is no espeak-ng."""
        windows = WINDOWS if sys.platform == "win32" else None
        program = shutil.which("espeak-ng") or (windows and shutil.which("espeak-ng", path=windows))
        if not program:
            raise NotAvailable(MISSING)
        return cls(program)

    async def say(self, text: str, voice: str, speed: int) -> str:
        """Make a clip; answers its name, or nothing where there is nothing to say."""
        if not (wav := await self.recorded(spoken(text), voice, speed)):
            return ""
        name = f"{secrets.token_hex(8)}.wav"
        self._clips[name] = Clip(wav, time.monotonic(), asyncio.Event())
        self._forget_old()
        return name

    def waits(self, name: str) -> bool:
        """Whether this clip is there, and no page took it yet."""
        return name in self._clips and not self._clips[name].taken.is_set()

    async def taken(self, name: str) -> None:
        """Wait until a page takes this clip, or it is gone."""
        if clip := self._clips.get(name):
            await clip.taken.wait()

    async def recorded(self, words: str, voice: str, speed: int) -> bytes:
        """The recording of a whole text, as it is, or nothing where there is nothing to say."""
        if not re.search(r"\w", words):
            return b""
        command = ("-v", voice, "-s", str(speed), "--stdout", "--stdin")
        async with self._one:  # one at a time, in the order of the sentences
            process = await asyncio.create_subprocess_exec(
                self._program, *command, stdin=-1, stdout=-1, stderr=-1
            )
            try:
                async with asyncio.timeout(PATIENCE):
                    wav, problem = await process.communicate(words.encode(errors="replace"))
            except TimeoutError:
                raise RuntimeError(f"espeak-ng took longer than {PATIENCE} seconds") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode:
            raise RuntimeError(
                f"espeak-ng failed: {problem.decode(errors='replace').strip()[:200]}"
            )
        return measured(wav)

    async def serve(self, request: Request) -> Response:
        self._forget_old()
        if not (clip := self._clips.get(request.path_params["name"])):
            raise HTTPException(404, "This clip is gone. Press Read aloud again.")
        clip.taken.set()
        return part_of(clip.wav, request.headers.get("range", ""))

    async def forgetting(self) -> None:
        """Let old clips go, also where nothing is said or asked for any more; never ends."""
        while True:
            await asyncio.sleep(SECONDS / 10)
            self._forget_old()

    def _forget_old(self) -> None:
        kept = sum(len(clip.wav) for clip in self._clips.values())
        for name, clip in [*self._clips.items()]:
            if kept <= KEPT and clip.made > time.monotonic() - SECONDS:
                return
            del self._clips[name]
            kept -= len(clip.wav)
            clip.taken.set()


def measured(wav: bytes) -> bytes:
    """A recording whose header tells its size, which the program does not know when it begins."""
    if not wav.startswith(b"RIFF"):
        return wav
    size = len(wav)
    return wav[:4] + _u32(size - 8) + wav[8:40] + _u32(size - 44) + wav[44:]


def part_of(wav: bytes, asked: str) -> Response:
    """The bytes that a Range header asks for, or all. Safari plays nothing that has no parts."""
    headers = {"accept-ranges": "bytes"}
    found = re.fullmatch(r"bytes=([0-9]{1,9})-([0-9]{0,9})", asked)
    first, end = 0, len(wav)
    if found:
        first, end = int(found[1]), min(int(found[2] or end) + 1, end)
    if not found or first >= end:
        return Response(wav, headers=headers, media_type="audio/wav")
    headers["content-range"] = f"bytes {first}-{end - 1}/{len(wav)}"
    return Response(wav[first:end], 206, headers, "audio/wav")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")
