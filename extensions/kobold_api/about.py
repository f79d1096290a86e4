"""What Kobold's programs ask before they write: versions, lengths, figures."""

import time
from collections.abc import Callable

from starlette.responses import Response

from extensions.api_kit.api import Call, Programs, Run, json
from kernel.api import Finish

SPEAKS, KOBOLDCPP = "1.2.5", "1.93"
"""The versions of KoboldAI's API and of KoboldCpp's whose addresses are served."""


class About:
    """Answers that need no engine."""

    def __init__(self, programs: Programs, length: Callable[[], int]) -> None:
        self._programs, self._length = programs, length
        self._began = self._ended = time.monotonic()
        self._finish: Finish | None = None
        self._tokens, self._seed = 0, -1
        """Of the last reply, without its run, which holds a whole conversation."""
        self._count = 0

    def ended(self, run: Run) -> None:
        """A reply of any program."""
        self._finish, self._ended = run.finish, time.monotonic()
        self._tokens, self._seed = run.tokens, run.seed
        self._count += 1

    async def version(self, call: Call) -> Response:
        return json({"result": SPEAKS})

    async def koboldcpp(self, call: Call) -> Response:
        info = self._programs.info()
        can = info.capabilities if info else ()
        lacks = ("txt2img", "audio", "transcribe", "multiplayer", "websearch", "tts", "savedata")
        return json(
            {
                "result": "KoboldCpp",
                "version": KOBOLDCPP,
                "protected": False,
                "llm": info is not None,
                "vision": "images" in can,
                "embeddings": self._programs.info("embedding") is not None,
                "admin": 0,
                **dict.fromkeys(lacks, False),
            }
        )

    async def context(self, call: Call) -> Response:
        """Of the model; 503 where there is none."""
        return json({"value": self._programs.described().context_length})

    async def length(self, call: Call) -> Response:
        return json({"value": self._length()})

    async def soft_prompt(self, call: Call) -> Response:
        """There are none of these any more; programs ask all the same."""
        return json({"value": ""})

    async def soft_prompts(self, call: Call) -> Response:
        return json({"values": []})

    async def perf(self, call: Call) -> Response:
        """Figures of the last reply, and what goes on."""
        now, finish = time.monotonic(), self._finish
        live = len(self._programs.runs.live)
        return json(
            {
                "last_process": round(finish.timings.prompt, 4) if finish else 0.0,
                "last_eval": round(finish.timings.completion, 4) if finish else 0.0,
                "last_token_count": self._tokens,
                "last_input_count": finish.usage.prompt if finish else 0,
                "last_seed": self._seed,
                "total_gens": self._count,
                "stop_reason": {"length": 0, "stop": 1}.get(finish.reason, -1) if finish else -1,
                "queue": self._programs.runs.gate.waiting,
                "idle": 0 if live else 1,
                "hordeexitcounter": 0,
                "uptime": round(now - self._began),
                "idletime": 0 if live else round(now - self._ended),
                "quiet": True,
            }
        )
