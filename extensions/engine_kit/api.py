"""All that other extensions and their workers may import from here."""

from extensions.engine_kit.adapters import Callbacks, Emit, OneAtATime, Stepped
from extensions.engine_kit.asides import Aside, Asides
from extensions.engine_kit.choices import question_of, told
from extensions.engine_kit.defaults import from_folder, from_gguf, with_defaults
from extensions.engine_kit.gguf import Gguf, Tensor, check_gguf
from extensions.engine_kit.gguf import read_header as read_gguf
from extensions.engine_kit.gguf_kinds import (
    check_gguf_adapter,
    check_gguf_model,
    check_gguf_projector,
    read_gguf_adapter,
)
from extensions.engine_kit.grammar import as_gbnf
from extensions.engine_kit.machine import Card, cards, held, memories, size
from extensions.engine_kit.patterns import Pattern, Unsupported
from extensions.engine_kit.peft import Peft, check_peft_adapter, misfit, read_config, read_peft
from extensions.engine_kit.requests import check_request, finish_of, neutral, unsupported
from extensions.engine_kit.room import all_memory, free_memory
from extensions.engine_kit.safetensors import Entry, check_folder, check_safetensors
from extensions.engine_kit.schemas import from_schema
from extensions.engine_kit.stops import StopStrings, TextStream
from extensions.engine_kit.templates import ChatTemplate
from extensions.engine_kit.thinking import CHANNELS, PAIRS, SPOKEN, begun
from extensions.engine_kit.usage import Used, used

__all__ = [
    "CHANNELS",
    "PAIRS",
    "SPOKEN",
    "Aside",
    "Asides",
    "Callbacks",
    "Card",
    "ChatTemplate",
    "Emit",
    "Entry",
    "Gguf",
    "OneAtATime",
    "Pattern",
    "Peft",
    "Stepped",
    "StopStrings",
    "Tensor",
    "TextStream",
    "Unsupported",
    "Used",
    "all_memory",
    "as_gbnf",
    "begun",
    "cards",
    "check_folder",
    "check_gguf",
    "check_gguf_adapter",
    "check_gguf_model",
    "check_gguf_projector",
    "check_peft_adapter",
    "check_request",
    "check_safetensors",
    "finish_of",
    "free_memory",
    "from_folder",
    "from_gguf",
    "from_schema",
    "held",
    "memories",
    "misfit",
    "neutral",
    "question_of",
    "read_config",
    "read_gguf",
    "read_gguf_adapter",
    "read_peft",
    "size",
    "told",
    "unsupported",
    "used",
    "with_defaults",
]
