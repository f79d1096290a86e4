"""The stages that all engines take, by the names of `sampler_priority`."""

from typing import Any

from extensions.engine_kit.looking_back import History, from_prompt, no_repeat
from extensions.engine_kit.requests import neutral
from extensions.engine_kit.stages import Stage, epsilon, eta, quadratic, tail_free, top_a
from kernel.contract import Sampling


def stage(name: str, sampling: Sampling, history: History) -> Stage | None:
    """The stage that `sampler_priority` calls so; None where it would change nothing."""

    def value(field: str) -> Any:
        return neutral(sampling, field)

    match name:
        case "quadratic_sampling" if value("smoothing_factor"):
            return quadratic(value("smoothing_factor"), value("smoothing_curve"))
        case "top_a" if value("top_a"):
            return top_a(value("top_a"))
        case "tfs" if value("tfs") < 1:
            return tail_free(value("tfs"))
        case "epsilon_cutoff" if value("epsilon_cutoff"):
            return epsilon(value("epsilon_cutoff") * 1e-4)
        case "eta_cutoff" if value("eta_cutoff"):
            return eta(value("eta_cutoff") * 1e-4)
        case "no_repeat_ngram_size" if value(name):
            return no_repeat(value(name), history)
        case "encoder_repetition_penalty" if value(name) != 1:
            return from_prompt(value(name), history)
        case _:
            return None
