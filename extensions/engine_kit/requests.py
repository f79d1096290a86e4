"""What an engine checks of every request, and how it says what went wrong."""

import traceback
from typing import Any

from kernel.contract import UNSET, Finish, Image, ModelInfo, Refused, Request, Sampling, Usage

NEUTRAL: dict[str, Any] = {
    "temperature": 1.0, "dynamic_temperature": False, "dynatemp_low": 1.0, "dynatemp_high": 1.0,
    "dynatemp_exponent": 1.0, "smoothing_factor": 0.0, "smoothing_curve": 1.0, "top_p": 1.0,
    "top_k": 0, "min_p": 0.0, "top_n_sigma": 0.0, "typical_p": 1.0, "xtc_threshold": 0.1,
    "xtc_probability": 0.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "tfs": 1.0, "top_a": 0.0,
    "adaptive_target": 0.0, "adaptive_decay": 0.9, "dry_multiplier": 0.0, "dry_allowed_length": 2,
    "dry_base": 1.75, "dry_sequence_breakers": ("\n", ":", '"', "*"), "repetition_penalty": 1.0,
    "frequency_penalty": 0.0, "presence_penalty": 0.0, "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0, "repetition_penalty_range": 0, "penalty_alpha": 0.0,
    "guidance_scale": 1.0, "negative_prompt": "", "mirostat_mode": 0, "mirostat_tau": 5.0,
    "mirostat_eta": 0.1, "do_sample": True, "temperature_last": False, "sampler_priority": (),
    "auto_max_new_tokens": False, "min_length": 0, "prompt_lookup_num_tokens": 0,
    "max_tokens_second": 0, "ban_eos_token": False, "custom_token_bans": (), "logit_bias": {},
    "add_bos_token": True, "skip_special_tokens": True, "static_cache": False, "seed": -1,
    "custom_stopping_strings": (), "num_beams": 1, "length_penalty": 1.0, "early_stopping": False,
    "extra": {},
}  # fmt: skip
"""The value of each `Sampling` field at which it changes nothing: what unset means."""
TUNES = {
    "dynatemp_low", "dynatemp_high", "dynatemp_exponent", "smoothing_curve", "xtc_threshold",
    "adaptive_decay", "dry_allowed_length", "dry_base", "dry_sequence_breakers",
    "repetition_penalty_range", "negative_prompt", "mirostat_tau", "mirostat_eta",
    "length_penalty", "early_stopping", "truncation_length",
}  # fmt: skip
"""Fields that tune another one, and alone do nothing, or are the server's to honour."""


def neutral(sampling: Sampling, name: str) -> Any:
    """A field's value, or what changes nothing where it is unset."""
    value = getattr(sampling, name)
    return NEUTRAL.get(name) if value is UNSET else value


def unsupported(sampling: Sampling, known: tuple[str, ...]) -> list[str]:
    """The fields that ask for something and are not in `known`."""
    return [
        name
        for name in sampling.__struct_fields__
        if name not in known and name not in TUNES
        and getattr(sampling, name) is not UNSET
        and getattr(sampling, name) != NEUTRAL.get(name)
    ]  # fmt: skip


def check_request(info: ModelInfo, request: Request) -> None:
    """Refuse what the model cannot do, by the names of both; never go on without."""
    given = [request.messages, request.prompt, request.token_ids]
    if sum(each is not None for each in given) != 1:
        raise Refused("A request has either messages, or a prompt, or token ids. Send one of them.")
    wants = {
        "grammar": request.grammar,
        "logprobs": request.logprobs is not None,
        "lora": request.adapters,
        "processors": request.processors,
        "tools": request.tools,
        "images": any(
            isinstance(part, Image) for message in request.messages or () for part in message.parts
        ),
    }
    lacks = [name for name, wanted in wants.items() if wanted and name not in info.capabilities]
    lacks += unsupported(request.sampling, info.samplers)
    if lacks:
        raise Refused(
            f"{info.name} in {info.loader} cannot do this: {', '.join(lacks)}. "
            "Leave it out, or load the model with another loader."
        )


def finish_of(error: BaseException, usage: Usage | None = None) -> Finish:
    """The end of a request that failed; what was no refusal is printed, for the log."""
    said = str(error)
    if not isinstance(error, Refused):
        traceback.print_exception(error)
        said = f"The engine failed: {type(error).__name__}: {error}"[:2000]
    return Finish("error", error=said, usage=usage or Usage())
