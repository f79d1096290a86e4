"""What the numbers and marks in headers are called."""

import re
from typing import Any

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""`general.file_type` of a GGUF file (llama.h, llama_ftype)."""
TENSOR_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
"""ggml's types of tensors."""
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "FP8"}
STORED = {"F8_E4M3": "FP8", "F8_E5M2": "FP8", "F64": "F64"}
METHODS = {
    "awq": "AWQ", "gptq": "GPTQ", "exl2": "EXL2", "exl3": "EXL3", "hqq": "HQQ", "fp8": "FP8",
    "bitsandbytes": "bitsandbytes", "mxfp4": "MXFP4", "mlx": "MLX", "quip": "QuIP#",
    "compressed-tensors": "compressed-tensors", "fbgemm_fp8": "FP8", "aqlm": "AQLM",
    "torchao": "torchao", "modelopt": "ModelOpt", "higgs": "HIGGS", "vptq": "VPTQ",
}  # fmt: skip
TEMPLATES = (
    ("<|im_start|>", "ChatML"), ("<|start_header_id|>", "Llama 3"), ("<|header_start|>", "Llama 4"),
    ("<|channel|>", "Harmony"), ("<start_of_turn>", "Gemma"), ("<|turn>", "Gemma 4"),
    ("[SYSTEM_PROMPT]", "Mistral"), ("[INST]", "Llama 2 or Mistral"),
    ("<|START_OF_TURN_TOKEN|>", "Command R"), ("<｜User｜>", "DeepSeek"), ("[gMASK]", "GLM"),  # noqa: RUF001
    ("<|start_of_role|>", "Granite"), ("<|end|>", "Phi 3"), ("### Instruction", "Alpaca"),
    ("USER:", "Vicuna"),
)  # fmt: skip
"""Marks that only one family of templates writes, the plainer ones last."""
SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![\w])", re.I)
LINE = 200
"""Characters of what a file says of itself in a line."""


def template(source: str) -> str:
    """The family of a chat template; empty where there is none."""
    found = (name for mark, name in TEMPLATES if mark in source)
    return next(found, "its own" if source.strip() else "")


def size_in_name(name: str) -> int:
    """Parameters, as a name such as “Llama-3.1-8B” says them; 0 where it does not."""
    found = SIZE.search(name.replace("_", "-"))
    return int(float(found[1]) * (10**9 if found[2] in "bB" else 10**6)) if found else 0


def line(value: Any) -> str:
    """Text of a header as one line; what is none is empty."""
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return " ".join(str(value).split())[:LINE] if isinstance(value, str) else ""


def number(value: Any, most: int = 2**40) -> int:
    """A number of a header; what is none, or cannot be, is 0."""
    real = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
    return value if real else 0
