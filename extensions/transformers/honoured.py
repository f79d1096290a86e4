"""What the engine honours; the server tells it before one is started, so no library is imported."""

from extensions.engine_kit.api import SAMPLED

HONOURED = (*SAMPLED, "guidance_scale", "negative_prompt")
