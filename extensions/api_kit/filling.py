"""Filling in: the prompt of a text that has a place in its middle, in the tokens of the model."""

from .problems import refused
from .programs import Programs

BAR = "\uff5c"
"""DeepSeek's, which is a wide one."""
FAMILIES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    tuple(f"<{BAR}fim▁{name}{BAR}>" for name in ("begin", "hole", "end")),
)
"""What stands before the text, before what follows it, and where the model begins to write:
Qwen, CodeGemma and others; StarCoder; Granite; Code Llama; DeepSeek."""
NONE = (
    "suffix: {} has no tokens for filling in (FIM), so it cannot write what stands before a "
    "suffix. Leave it out, or load a model for code."
)


async def filled(programs: Programs, before: str, after: str) -> str:
    """The prompt for what stands between the two; raises Problem where the model knows none."""
    for marks in FAMILIES:
        if await known(programs, marks):
            first, second, third = marks
            return f"{first}{before}{second}{after}{third}"
    raise refused(NONE.format(programs.model().info.name), "suffix", "unsupported_value")


async def known(programs: Programs, marks: tuple[str, ...]) -> bool:
    """Whether each of them is one token."""
    for mark in marks:
        if len(await programs.tokens(mark, special=False)) != 1:
            return False
    return True
