"""Which template a model without one was trained with, as far as its name says that."""

import re

NAMES = (
    ("Llama-v3", r"llama-?_?3|llama3"),
    ("Llama-v2", r"llama-?_?2.*chat|codellama.*instruct"),
    ("Mistral", r"mi[sx]tral.*instruct|mistral-nemo|ministral"),
    ("Vicuna-v1.1", r"vicuna|wizardlm|wizard-vicuna"),
    ("Gemma", r"gemma"),
    ("Phi-3", r"phi-?3"),
    ("Zephyr", r"zephyr|stablelm-2"),
    ("Command-R", r"command-r|c4ai"),
    ("OpenChat", r"openchat|starling"),
    ("Metharme", r"metharme|pygmalion-2|mythalion"),
    ("Open Assistant", r"oasst|open-?assistant"),
    ("ChatML", r"chatml|qwen|hermes|dolphin|openorca|yi-.*chat|smollm|internlm"),
    ("Alpaca", r"alpaca|airoboros|mythomax|samantha"),
)


def by_name(*names: str) -> str:
    """The template that a model's name or path speaks of; empty if it speaks of none."""
    for name in names:
        for template, pattern in NAMES:
            if re.search(pattern, name.replace("\\", "/").rpartition("/")[2], re.IGNORECASE):
                return template
    return ""
