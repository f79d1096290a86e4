"""The parameters that every engine of ours honours which samples by itself."""

SAMPLED = (
    "temperature", "dynamic_temperature", "dynatemp_low", "dynatemp_high", "dynatemp_exponent",
    "smoothing_factor", "smoothing_curve", "top_p", "top_k", "min_p", "top_n_sigma", "typical_p",
    "xtc_threshold", "xtc_probability", "epsilon_cutoff", "eta_cutoff", "tfs", "top_a",
    "adaptive_target", "adaptive_decay", "dry_multiplier", "dry_allowed_length", "dry_base",
    "dry_sequence_breakers", "repetition_penalty", "frequency_penalty", "presence_penalty",
    "encoder_repetition_penalty", "no_repeat_ngram_size", "repetition_penalty_range",
    "mirostat_mode", "mirostat_tau", "mirostat_eta", "do_sample", "temperature_last",
    "sampler_priority", "max_new_tokens", "auto_max_new_tokens", "min_length", "ban_eos_token",
    "custom_token_bans", "logit_bias", "add_bos_token", "skip_special_tokens", "seed",
    "custom_stopping_strings", "extra",
)  # fmt: skip
