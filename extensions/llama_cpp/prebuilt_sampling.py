"""Spindle's sampling parameters in llama.cpp's words."""

from typing import Any

from extensions.engine_kit.api import neutral
from extensions.llama_cpp.priority import order
from kernel.contract import Sampling

PLAIN = {
    "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "typical_p": "typical_p",
    "xtc_threshold": "xtc_threshold", "xtc_probability": "xtc_probability",
    "dynatemp_exponent": "dynatemp_exponent", "dry_multiplier": "dry_multiplier",
    "dry_base": "dry_base", "dry_allowed_length": "dry_allowed_length",
    "repetition_penalty": "repeat_penalty", "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty", "mirostat_mode": "mirostat",
    "mirostat_tau": "mirostat_tau", "mirostat_eta": "mirostat_eta",
    "adaptive_decay": "adaptive_decay", "ban_eos_token": "ignore_eos",
}  # fmt: skip
"""Fields that only have another name there."""
HONOURED = (
    *PLAIN, "temperature", "do_sample", "dynamic_temperature", "dynatemp_low", "dynatemp_high",
    "top_n_sigma", "adaptive_target", "dry_sequence_breakers", "repetition_penalty_range",
    "temperature_last", "sampler_priority", "max_new_tokens", "auto_max_new_tokens",
    "custom_token_bans", "logit_bias", "add_bos_token", "seed", "custom_stopping_strings",
)  # fmt: skip
ORDER = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc",
         "temperature"]  # fmt: skip


def as_parameters(sampling: Sampling, context: int) -> dict[str, Any]:
    """The fields of a completion request; what is unset is said to change nothing."""

    def value(name: str) -> Any:
        return neutral(sampling, name)

    low, high, temperature = value("dynatemp_low"), value("dynatemp_high"), value("temperature")
    spread = 0.0
    if value("dynamic_temperature"):
        temperature, spread = (low + high) / 2, abs(high - low) / 2
    biases = {token: max(-1e4, min(1e4, bias)) for token, bias in value("logit_bias").items()}
    biases |= dict.fromkeys(value("custom_token_bans"), False)
    past = value("repetition_penalty_range") or context
    parameters: dict[str, Any] = {there: value(here) for here, there in PLAIN.items()}
    parameters |= {
        "temperature": temperature if value("do_sample") else 0.0,
        "dynatemp_range": spread,
        "top_n_sigma": value("top_n_sigma") or -1.0,
        "adaptive_target": value("adaptive_target") or -1.0,
        "repeat_last_n": past,
        "dry_penalty_last_n": past,
        "dry_sequence_breakers": list(value("dry_sequence_breakers")) or [""],  # none is refused
        "logit_bias": [[token, bias] for token, bias in biases.items()],
        "samplers": order(sampling, ORDER) + ["adaptive_p"] * bool(value("adaptive_target")),
    }
    if value("seed") != -1:
        parameters["seed"] = value("seed")
    return parameters
