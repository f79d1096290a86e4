"""How exactly a file keeps a model's numbers, told by its name: in bits, and in a sentence."""

import re

from kernel.api import Struct

SEEN = re.compile(
    r"(?:^|[-_./ ])(?P<unsloth>UD-)?(?P<name>"
    r"I?Q[1-8]_(?:K|[01]|NL|XXS|XS|S|M)(?:_(?:XXL|XL|L|M|S|P))?(?:_L)?|TQ[12]_0"
    r"|BF16|F16|FP16|F32|FP32|MXFP4(?:_MOE)?|NVFP4)(?=$|[-_./ ])",
    re.IGNORECASE,
)
SAME = {"FP16": "F16", "FP32": "F32", "MXFP4_MOE": "MXFP4"}
UNKNOWN = "Its name does not say how exactly it keeps the model's numbers."


class Quantization(Struct, frozen=True):
    """One way to keep numbers; `bits` for each, roughly, as llama.cpp's own tables have them."""

    name: str
    bits: float = 0.0
    says: str = UNKNOWN


ALL = (
    # name, bits for each number, what it is good for
    ("F32", 32.0, "32 bits, more than the model has: for conversions, not for talking."),
    ("BF16", 16.0, "As the model was trained: nothing is lost, and it is the largest and slowest."),
    ("F16", 16.0, "As the model was trained: nothing is lost, and it is the largest and slowest."),
    ("Q8_0", 8.5, "8 bits: as good as the original in practice, at half its size."),
    ("Q6_K", 6.6, "6 bits: hardly to be told from the original."),
    ("Q5_K_M", 5.7, "5 bits: a very small loss."),
    ("Q5_K_S", 5.5, "5 bits: a very small loss, a little smaller."),
    ("Q5_1", 6.0, "5 bits in an old form; Q5_K_M is better at this size."),
    ("Q5_0", 5.5, "5 bits in an old form; Q5_K_M is better at this size."),
    ("Q4_K_M", 4.8, "4 bits: the usual choice, a small loss for a third of the size."),
    ("Q4_K_S", 4.6, "4 bits: a little smaller than Q4_K_M, and a little worse."),
    ("Q4_1", 5.0, "4 bits in an old form; Q4_K_M is better at this size."),
    ("Q4_0", 4.5, "4 bits in an old form that some processors read fastest."),
    ("IQ4_NL", 4.5, "4 bits, spaced unevenly: about as good as Q4_K_S, at times slower."),
    ("IQ4_XS", 4.3, "4 bits, tightly packed: nearly Q4_K_S, slower without a graphics card."),
    ("MXFP4", 4.3, "4 bits with shared scales: how some models were trained, so little is lost."),
    ("NVFP4", 4.5, "4 bits with shared scales, for new graphics cards of NVIDIA."),
    ("Q3_K_L", 4.3, "3 bits, with more for what matters: worse in noticeable ways."),
    ("Q3_K_M", 3.9, "3 bits: worse in noticeable ways; take it where Q4 does not fit."),
    ("Q3_K_S", 3.5, "3 bits throughout: clearly worse; for when nothing larger fits."),
    ("IQ3_M", 3.7, "3 bits, tightly packed: about as good as Q3_K_M, smaller and slower."),
    ("IQ3_S", 3.4, "3 bits, tightly packed: better than Q3_K_S at its size, slower."),
    ("IQ3_XS", 3.3, "3 bits, tightly packed: clearly worse than the original."),
    ("IQ3_XXS", 3.1, "3 bits, very tightly packed: clearly worse than the original."),
    ("Q2_K", 3.0, "2 bits for most: much is lost. A smaller model with Q4 is often better."),
    ("Q2_K_S", 2.7, "2 bits: much is lost. A smaller model with Q4 is often better."),
    ("IQ2_M", 2.7, "2 bits, tightly packed: much is lost, but it can be of use."),
    ("IQ2_S", 2.5, "2 bits, tightly packed: much is lost."),
    ("IQ2_XS", 2.3, "2 bits, tightly packed: much is lost. Only for very large models."),
    ("IQ2_XXS", 2.1, "2 bits, very tightly packed: only for very large models."),
    ("TQ2_0", 2.1, "Three values for each number: only for models that were trained so."),
    ("TQ1_0", 1.7, "Three values for each number: only for models that were trained so."),
    ("IQ1_M", 1.8, "Less than 2 bits: a last resort for very large models."),
    ("IQ1_S", 1.6, "Less than 2 bits: a last resort for very large models."),
)
LARGER = " Parts of it are kept more exactly than usual."
DYNAMIC = " Which parts get more bits was measured layer by layer."
PACKED = (
    (r"gptq", 4.0, "GPTQ", "Packed with GPTQ, for loaders on a graphics card that read it."),
    (r"awq", 4.0, "AWQ", "Packed with AWQ, for loaders on a graphics card that read it."),
    (r"exl3", 0.0, "EXL3", "Packed for ExLlamaV3, on a graphics card of NVIDIA."),
    (r"exl2", 0.0, "EXL2", "Packed for ExLlamaV2, on a graphics card of NVIDIA."),
    (r"bnb-4bit|4bit-bnb", 4.0, "bitsandbytes 4-bit", "Packed to 4 bits with bitsandbytes."),
    (r"fp8", 8.0, "FP8", "8-bit floating point, for graphics cards that compute with it."),
    (r"mlx", 0.0, "MLX", "For Apple's MLX. No loader here reads it: look for a GGUF of the model."),
)


def quantization_of(name: str) -> Quantization:
    """The quantization that a GGUF file's name tells, or its folder's; the last one that is in
    it, since a model's own name may hold another."""
    every = [*SEEN.finditer(name.removesuffix(".gguf"))]
    if not every:
        return Quantization("")
    found = every[-1]
    said = found["name"].upper()
    said = SAME.get(said, said)
    known = _known(said)
    full = f"{(found['unsloth'] or '').upper()}{said}"
    if not known:
        return Quantization(full)
    base, bits, says = known
    says += DYNAMIC if found["unsloth"] else LARGER if said != base else ""
    return Quantization(full, bits, says)


def packing_of(name: str) -> Quantization:
    """How the safetensors of a repository are packed, as its name tells; plain ones say so."""
    for pattern, bits, label, says in PACKED:
        if re.search(rf"(?:^|[-_./]){pattern}(?:$|[-_./\d])", name, re.IGNORECASE):
            return Quantization(label, bits, says)
    return Quantization("", 16.0, "As the model was trained, in safetensors: for Transformers.")


def _known(name: str) -> tuple[str, float, str] | None:
    """The row of a name, or of what it is a larger form of: Q4_K_L is Q4_K_M and more."""
    rows = {row[0]: row for row in ALL}
    shorter = re.sub(r"_(?:XXL|XL|L|P)$", "", name)
    for each in (name, shorter, f"{shorter}_M", f"{shorter}_S", f"{name.partition('_')[0]}_0"):
        if row := rows.get(each):
            return row
    return None
