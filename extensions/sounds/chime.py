"""What is heard: two soft tones made here, or the user's own file."""

import io
import math
import wave
from array import array
from functools import cache
from pathlib import Path

RATE = 22_050
TONES = ((0.0, 659.25), (0.12, 987.77))
"""Seconds after which a tone begins, and its frequency: E5, then B5."""
LENGTH = 0.7
KINDS = {".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".opus": "audio/ogg"}
LARGEST = 5_000_000
"""Bytes of a user's file."""


@cache
def chime() -> bytes:
    """A WAV file, 16 bit, mono."""
    samples = array("h")
    for n in range(int(RATE * LENGTH)):
        samples.append(int(9_000 * sum(tone(n / RATE - begin, hertz) for begin, hertz in TONES)))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def tone(t: float, hertz: float) -> float:
    """A struck bar: it swells in 5 ms and fades."""
    if t < 0:
        return 0.0
    return min(1.0, t / 0.005) * math.exp(-7 * t) * math.sin(2 * math.pi * hertz * t)


def own(folder: Path) -> tuple[bytes, str] | None:
    """The user's file `notification.<kind>` and its media type, where there is one."""
    for suffix, media_type in KINDS.items():
        file = folder / f"notification{suffix}"
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= LARGEST:
            return file.read_bytes(), media_type
    return None
