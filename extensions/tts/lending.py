"""The voice as programs may use it: whole texts as recordings."""

from collections.abc import Callable, Sequence
from typing import Any

from extensions.api_kit.api import Recording
from kernel.api import Refused

from .speech import Speech

SLOWEST, FASTEST = 80, 450
"""Words in a minute."""


class Lent:
    """What is contributed to SPEECH; a voice that it does not have is the one of the settings."""

    formats: Sequence[str] = ("wav",)

    def __init__(
        self, speech: Speech, settings: Callable[[], Any], voices: tuple[str, ...]
    ) -> None:
        self._speech, self._settings, self._voices = speech, settings, voices

    async def speak(self, text: str, voice: str, speed: float, format: str) -> Recording:
        """The text, with as many words a minute as the settings say, times `speed`."""
        s = self._settings()
        name = voice if voice in self._voices else s.voice
        name = name if s.variant == "plain" else f"{name}+{s.variant}"
        pace = min(max(round(s.speed * speed), SLOWEST), FASTEST)
        data = await self._speech.recorded(text, name, pace)
        if not data:
            raise Refused("There is nothing to say. Write some words.")
        return Recording(data, "audio/wav")
