"""What programs ask of llama.cpp's server before they write."""

from typing import Any

from starlette.responses import Response

from extensions.api_kit.api import Call, Fault, Programs, json
from kernel.api import __version__

INFILL = (
    "Spindle does not fill in between two texts. Send prompt and suffix to /v1/completions, or the "
    "model's own tokens for it in a prompt to /completion."
)
KEPT = (
    "Slots are not saved one by one: Spindle finds by itself what the engine knows of a prompt, "
    "and the engine keeps it between two loads (keep_cache in the model's options)."
)


class About:
    """Answers that need no engine."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def health(self, call: Call) -> Response:
        """503 while a model is loading, or where none is; one that rests is there when asked."""
        self._programs.described()
        return json({"status": "ok"})

    async def props(self, call: Call) -> Response:
        info = self._programs.described()
        tokens = {f"{name}_token_id": id for name, id in info.special_tokens.items()}
        return json(
            {
                "default_generation_settings": {"n_ctx": info.context_length, "params": {}},
                "total_slots": self._programs.runs.gate.room,
                "model_alias": info.name,
                "model_path": info.name,
                "chat_template": info.chat_template,
                "modalities": {"vision": "images" in info.capabilities, "audio": False},
                "build_info": f"Spindle {__version__}",
                "is_sleeping": self._programs.resting(),
                **tokens,
            }
        )

    async def slots(self, call: Call) -> Response:
        """As many as replies are made at once; what is written in them is nobody else's."""
        info = self._programs.described()
        runs = self._programs.runs
        live = [run for run in runs.live if run.began]
        return json([slot(n, info.context_length, live) for n in range(runs.gate.room)])

    async def keep(self, call: Call) -> Response:
        """Save, restore, erase."""
        return not_here(KEPT)

    async def infill(self, call: Call) -> Response:
        return not_here(INFILL)


def slot(number: int, length: int, live: list[Any]) -> dict[str, Any]:
    run = live[number] if number < len(live) else None
    decoded = [{"n_decoded": run.tokens}] if run else []
    return {
        "id": number, "n_ctx": length, "is_processing": bool(run), "next_token": decoded,
    }  # fmt: skip


def not_here(says: str) -> Response:
    """A clear no, which asking again will not change."""
    fault = Fault(says, "invalid_request_error", None, "not_supported")
    return json({"error": fault}, 400, fault.headers)
