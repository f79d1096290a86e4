"""What a model's own files say of sampling: generation_config.json, and a GGUF's metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, structs

from kernel.contract import Request, Sampling

NAMES = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
GGUF = {
    "temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
    "penalty_repeat": "repetition_penalty", "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold", "mirostat": "mirostat_mode",
    "mirostat_tau": "mirostat_tau", "mirostat_eta": "mirostat_eta",
}  # fmt: skip
"""`general.sampling.*` of the GGUF specification."""


def from_folder(folder: Path) -> Sampling:
    """The defaults in a folder's generation_config.json; greedy where it says do_sample: false."""
    try:
        said = json.loads((folder / "generation_config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return Sampling()
    if not isinstance(said, dict):
        return Sampling()
    if said.get("do_sample") is False:
        return Sampling(temperature=0.0)
    return _valid({name: said.get(name) for name in NAMES})


def from_gguf(path: Path, metadata: Mapping[str, Any]) -> Sampling:
    """The defaults in a GGUF's metadata over those of a generation_config.json beside it."""
    named = {name: metadata.get(f"general.sampling.{key}") for key, name in GGUF.items()}
    return over(from_folder(path.parent), _valid(named))


def over(defaults: Sampling, asked: Sampling) -> Sampling:
    """`asked`, with the defaults where it is silent."""
    said = {k: v for k, v in structs.asdict(asked).items() if v is not UNSET}
    return structs.replace(defaults, **said)


def with_defaults(request: Request, defaults: Sampling) -> Request:
    """The request as the model's own files complete it."""
    return structs.replace(request, sampling=over(defaults, request.sampling))


def _valid(values: Mapping[str, Any]) -> Sampling:
    """What of it a `Sampling` takes: a model's file may say anything."""
    good: dict[str, Any] = {}
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, Sampling)
            good[name] = value
        except msgspec.ValidationError:
            continue
    return Sampling(**good)
