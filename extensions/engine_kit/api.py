"""All that other extensions and their workers may import from here.

What needs numpy, which the server has not, is imported when it is asked for; so are grammars,
which take 6 ms of a start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from extensions.engine_kit.adapters import Callbacks, Emit, OneAtATime, Stepped
from extensions.engine_kit.asides import STOPPED, Aside, Asides
from extensions.engine_kit.banned import BannedStrings
from extensions.engine_kit.bans import Bans
from extensions.engine_kit.choices import question_of, told
from extensions.engine_kit.defaults import from_folder, from_gguf, with_defaults
from extensions.engine_kit.fit import Fit, Memory, Share, Weighs
from extensions.engine_kit.gguf import Gguf, Tensor, check_gguf
from extensions.engine_kit.gguf import read_header as read_gguf
from extensions.engine_kit.gguf_kinds import (
    check_gguf_adapter,
    check_gguf_model,
    check_gguf_projector,
    read_gguf_adapter,
)
from extensions.engine_kit.honoured import SAMPLED
from extensions.engine_kit.machine import Card, cards, held, memories, size
from extensions.engine_kit.patterns import Pattern, Unsupported
from extensions.engine_kit.peft import Peft, check_peft_adapter, misfit, read_config, read_peft
from extensions.engine_kit.priority import in_order
from extensions.engine_kit.requests import check_request, finish_of, neutral, unsupported
from extensions.engine_kit.room import all_memory, free_memory
from extensions.engine_kit.safetensors import Entry, check_folder, check_safetensors
from extensions.engine_kit.stops import StopStrings, TextStream
from extensions.engine_kit.templates import ChatTemplate
from extensions.engine_kit.thinking import CHANNELS, PAIRS, SPOKEN, begun
from extensions.engine_kit.usage import Used, used

if TYPE_CHECKING:
    from extensions.engine_kit.grammar import as_gbnf
    from extensions.engine_kit.lark import as_lark
    from extensions.engine_kit.looking_back import History, dry
    from extensions.engine_kit.samplers import stage
    from extensions.engine_kit.schemas import from_schema
    from extensions.engine_kit.stages import Stage, dynamic, softmax, xtc
    from extensions.engine_kit.steering import Adaptive, Mirostat

WHERE = {
    "Adaptive": "steering", "History": "looking_back", "Mirostat": "steering", "Stage": "stages",
    "as_gbnf": "grammar", "as_lark": "lark", "dry": "looking_back", "dynamic": "stages",
    "from_schema": "schemas", "softmax": "stages", "stage": "samplers", "xtc": "stages",
}  # fmt: skip

__all__ = [
    "CHANNELS",
    "PAIRS",
    "SAMPLED",
    "SPOKEN",
    "STOPPED",
    "Adaptive",
    "Aside",
    "Asides",
    "BannedStrings",
    "Bans",
    "Callbacks",
    "Card",
    "ChatTemplate",
    "Emit",
    "Entry",
    "Fit",
    "Gguf",
    "History",
    "Memory",
    "Mirostat",
    "OneAtATime",
    "Pattern",
    "Peft",
    "Share",
    "Stage",
    "Stepped",
    "StopStrings",
    "Tensor",
    "TextStream",
    "Unsupported",
    "Used",
    "Weighs",
    "all_memory",
    "as_gbnf",
    "as_lark",
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
    "dry",
    "dynamic",
    "finish_of",
    "free_memory",
    "from_folder",
    "from_gguf",
    "from_schema",
    "held",
    "in_order",
    "memories",
    "misfit",
    "neutral",
    "question_of",
    "read_config",
    "read_gguf",
    "read_gguf_adapter",
    "read_peft",
    "size",
    "softmax",
    "stage",
    "told",
    "unsupported",
    "used",
    "with_defaults",
    "xtc",
]


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(name)
    return getattr(import_module(f"extensions.engine_kit.{WHERE[name]}"), name)
