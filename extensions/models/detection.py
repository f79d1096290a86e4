"""Which loader a model's files are for: the rules of every era, best first.

Names of files and what config.json says decide, never the weights. A loader that is listed here and
not named for a model does not take it; any other is believed what it says itself.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from extensions.models.described import Suited
from kernel.contract import Struct

LABELS = {
    "llama_cpp": "llama.cpp", "llamacpp_hf": "llamacpp_HF", "transformers": "Transformers",
    "exllamav3": "ExLlamav3", "exllamav3_hf": "ExLlamav3_HF", "exllamav2": "ExLlamav2",
    "exllamav2_hf": "ExLlamav2_HF", "autogptq": "AutoGPTQ", "gptq_for_llama": "GPTQ-for-LLaMa",
    "autoawq": "AutoAWQ", "hqq": "HQQ", "quip": "QuIP#", "rwkv": "RWKV", "mlx": "MLX",
    "ctransformers": "ctransformers", "tensorrt_llm": "TensorRT-LLM", "flexgen": "FlexGen",
}  # fmt: skip
"""The loaders that there have been, by id."""
WBITS = re.compile(r"(?:^|[-_])([2348])bit(?:-(\d+)g)?(?:$|[-_.])", re.I)
"""How GPTQ-for-LLaMa's files say their bits and the size of their groups."""
TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")


class Look(Struct, frozen=True):
    """What the rules see of a folder."""

    name: str
    files: frozenset[str]
    config: Mapping[str, Any]

    def has(self, pattern: str) -> bool:
        """Whether a file's name is like that, in small letters."""
        return any(re.fullmatch(pattern, file.lower()) for file in self.files)

    def says(self, word: str) -> bool:
        return word in self.name.lower()

    @property
    def only_gguf(self) -> bool:
        """Whether its weights are in GGUF files and nowhere else."""
        return self.has(r".*\.gguf") and not self.has(r".*\.(safetensors|bin|pt|pth)")

    @property
    def gguf(self) -> str:
        """The one GGUF file that is all its weights, or nothing."""
        found = [file for file in self.files if file.lower().endswith(".gguf")]
        return found[0] if len(found) == 1 and self.only_gguf else ""

    @property
    def method(self) -> str:
        """How it is quantized, as its own files say."""
        said = self.config.get("quantization_config")
        method = said.get("quant_method") if isinstance(said, dict) else ""
        if isinstance(method, str) and method:
            return method.lower()
        if isinstance(said, dict) and (said.get("load_in_4bit") or said.get("load_in_8bit")):
            return "bitsandbytes"
        if isinstance(self.config.get("quantization"), dict):
            return "mlx"
        return ""


def of_file(name: str, form: str) -> tuple[Suited, ...]:
    """The loaders of a file that is a model by itself."""
    low = name.lower()
    if form == "GGUF":
        return suited(
            ("llama_cpp", "It is a GGUF file."),
            ("llamacpp_hf", "It is a GGUF file, sampled as Transformers does."),
        )
    if form == "GGML":
        return suited(("ctransformers", "It is a GGML file of 2023."))
    if low.startswith("rwkv") and low.endswith(".pth"):
        return suited(("rwkv", "Its name is that of an RWKV model."))
    if WBITS.search(name.rpartition(".")[0]) and low.endswith((".safetensors", ".pt")):
        return suited(("gptq_for_llama", "Its name says how many bits it has, as GPTQ's did."))
    return ()


def of_folder(look: Look) -> tuple[Suited, ...]:
    """The loaders of a folder: the first rule that fits decides."""
    return next((found for rule in RULES if (found := tuple(suited(*rule(look))))), ())


def suited(*found: tuple[str, str]) -> tuple[Suited, ...]:
    return tuple(Suited(id, LABELS[id], why) for id, why in found)


def missing(wanted: Iterable[Suited], off: Set[str]) -> str:
    """Why nothing takes it now: the loaders that would, and that they are off or not there."""
    first = next(iter(wanted), None)
    if not first:
        return "No loader takes it. Switch one on in Settings, or look for a GGUF form of it."
    asleep = next((each for each in wanted if each.loader in off), None)
    if asleep:
        return f"{asleep.label} takes it, and is switched off. Switch it on in Settings."
    return (
        f"{first.why} It is for {first.label}, which Spindle does not have. "
        "Look for the original weights, or for a GGUF form of the model."
    )


Found = Iterator[tuple[str, str]]


def engine(look: Look) -> Found:
    """Compiled for one kind of card, 2026."""
    if look.has(r".*\.engine"):
        yield "tensorrt_llm", "It was compiled for TensorRT-LLM."


def gguf(look: Look) -> Found:
    """One GGUF in a folder: with a tokenizer it was made for llamacpp_HF, 2023 to 2025."""
    if look.gguf and look.files & {*TOKENIZERS}:
        yield "llamacpp_hf", "It is a GGUF file with a tokenizer of its own beside it."


def exl3(look: Look) -> Found:
    """2025 and later."""
    if look.method == "exl3" or look.says("exl3"):
        why = "It is quantized with EXL3."
        yield from (("exllamav3", why), ("exllamav3_hf", why))


def exl2(look: Look) -> Found:
    """2023 to 2026."""
    if look.method == "exl2" or look.says("exl2"):
        why = "It is quantized with EXL2."
        yield from (("exllamav2_hf", why), ("exllamav2", why))


def awq(look: Look) -> Found:
    """Before GPTQ's: an AWQ folder may have both kinds of configuration."""
    if look.method == "awq" or "quant_config.json" in look.files or look.name.endswith("-awq"):
        yield "autoawq", "It is quantized with AWQ."


def gptq(look: Look) -> Found:
    """Since 2023, under many loaders."""
    by_name = WBITS.search(look.name) and look.has(r".*\.(safetensors|pt)") and not look.method
    by_file = look.has(r".*[2438]bit(-\d+g)?\.(safetensors|pt)")
    if look.method == "gptq" or "quantize_config.json" in look.files or by_name or by_file:
        why = "It is quantized with GPTQ."
        yield from (("exllamav2_hf", why), ("autogptq", why), ("gptq_for_llama", why))


def hqq(look: Look) -> Found:
    """2023 to 2025."""
    if look.method == "hqq" or look.name.lower().endswith("-hqq"):
        yield "hqq", "It is quantized with HQQ."


def quip(look: Look) -> Found:
    """Winter 2023."""
    if look.method.startswith("quip") or "quip_params" in look.config or look.says("quip"):
        yield "quip", "It is quantized with QuIP#."


def mlx(look: Look) -> Found:
    """Apple's: plain safetensors whose config.json has a table of its own."""
    if look.method == "mlx":
        yield "mlx", "It is quantized for MLX."


def rwkv(look: Look) -> Found:
    if look.has(r"rwkv.*\.pth"):
        yield "rwkv", "It holds an RWKV model."


def flexgen(look: Look) -> Found:
    """Early 2023: a folder of arrays."""
    if look.name.endswith("-np"):
        yield "flexgen", "Its name is that of weights made for FlexGen."


def plain(look: Look) -> Found:
    """Weights as they were trained. What is quantized in another way is for nothing here."""
    if "config.json" in look.files and not look.method and not look.only_gguf:
        yield "transformers", "It is a folder with config.json and its weights."


RULES = (engine, gguf, exl3, exl2, awq, hqq, quip, mlx, gptq, rwkv, flexgen, plain)
"""In the order in which they are asked: names such as “…-exl2” decide before what is also true."""
