"""What is honoured beside what the Transformers loader does; the server tells it, too."""

BESIDE = ("guidance_scale", "negative_prompt", "penalty_alpha", "extra")
