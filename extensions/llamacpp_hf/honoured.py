"""What is honoured beside what the Transformers loader does; the server tells it, too."""

BESIDE = ("penalty_alpha",)
