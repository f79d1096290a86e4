"""How models mark their thoughts: the tags themselves, and what a prompt has begun already."""

from extensions.engine_kit.calling import CALLED

PAIRS = {
    "<think>": "</think>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|think|>": "<|end|>",
    "<|channel>thought": "<channel|>",
}
"""The tags around a thought; the last one is Gemma's."""
CHANNELS = ("analysis", "commentary", "final")
"""Channels of GPT-OSS; only the last is the answer."""
SPOKEN = (
    *PAIRS, *PAIRS.values(),
    "<|start|>", "<|channel|>", "<|message|>", "<|channel>", "<|call|>", "<|constrain|>",
    *CALLED,
)  # fmt: skip
"""Special tokens that are said where others are skipped: without them nobody could tell a thought
or a call from the answer. The one that ends a reply is never said."""


def begun(prompt: str) -> str:
    """The tag of a thought, and the space after it, with which a prompt ends; or ""."""
    end = prompt.rstrip()
    tag = next((tag for tag in PAIRS if end.endswith(tag)), "")
    return prompt[len(end) - len(tag) :] if tag else ""
