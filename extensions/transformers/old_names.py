"""Names that options of Transformers have, or had, in text-generation-webui."""

from collections.abc import Mapping
from typing import Any

SAME = {"n_ctx": "context_length", "ctx_size": "context_length", "max_seq_len": "context_length"}
SWITCHES: Mapping[str, tuple[str, Any]] = {
    "bf16": ("dtype", "bfloat16"), "cpu": ("device", "cpu"),
}  # fmt: skip
"""What a switch sets when it is on; when it is off it says nothing."""
FORMER = (*SAME, *SWITCHES)
WHOLE = "This loader keeps the weights as they are. Take a GGUF form of the model for fewer bits."
GONE = {"load_in_8bit": WHOLE, "load_in_4bit": WHOLE}
"""What exists no longer, and what takes its place."""
NEEDLESS = ("compute_dtype", "quant_type", "use_double_quant")
"""Details of fewer bits, which are told anyway."""
OFF = (None, False, "", "false", "False")
USUAL = {"alpha_value": 1, "compress_pos_emb": 1, "attn_implementation": "sdpa"}
"""Values that text-generation-webui saves of one with which nobody did anything."""


def modern(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values by their names of today, and a sentence for each that has no successor."""
    good, bad = dict[str, Any](), dict[str, str]()
    for name, value in values.items():
        name = name.replace("-", "_")
        if name in NEEDLESS or (name in USUAL and value == USUAL[name]):
            continue
        if name in GONE or name in SWITCHES:
            if value in OFF:
                continue
            if name in GONE:
                bad[name] = f"{GONE[name]} Leave {name} out."
            else:
                now, set_to = SWITCHES[name]
                good.setdefault(now, set_to)
        elif name in SAME:
            good.setdefault(SAME[name], value)
        else:
            good[name] = value
    return good, bad
