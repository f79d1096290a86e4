"""What the engine honours; the server tells it before one is started, so nothing is imported."""

HONOURED = (
    "temperature", "top_n_sigma", "top_k", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
    "repetition_penalty_range", "encoder_repetition_penalty", "no_repeat_ngram_size",
    "min_length", "ban_eos_token", "custom_token_bans", "logit_bias", "do_sample",
    "temperature_last", "sampler_priority", "max_new_tokens", "auto_max_new_tokens",
    "add_bos_token", "skip_special_tokens", "seed", "custom_stopping_strings",
)  # fmt: skip
