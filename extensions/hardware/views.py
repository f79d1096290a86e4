"""A reading of the machine as the template shows it."""

from collections.abc import Mapping
from typing import Any

from extensions.engine_kit.api import Memory, size
from extensions.hardware.reading import Process, Reading


def view(now: Reading) -> dict[str, Any]:
    """The context of _now.html."""
    own = sum(each.memory.own for each in now.processes)
    on_card = sum(each.cards for each in now.processes) if len(now.cards) == 1 else 0
    return {
        "name": now.name,
        "cores": now.cores,
        "busy": now.busy,
        "memory": bar(now.memory, own),
        "cards": [
            {
                "name": card.memory.name,
                "busy": card.busy,
                "degrees": card.degrees,
                **bar(card.memory, on_card),
            }
            for card in now.cards
        ],
        "models": [model(each) for each in now.processes],
    }


def bar(memory: Memory, own: int) -> dict[str, Any]:
    """What models take comes first, then what others do; in percents of the whole."""
    taken = max(0, memory.total - memory.free)
    own = min(own, taken)
    whole = max(memory.total, 1)
    return {
        "total": size(memory.total),
        "free": size(memory.free),
        "model": {"size": size(own), "wide": round(100 * own / whole, 1)},
        "others": {"size": size(taken - own), "wide": round(100 * (taken - own) / whole, 1)},
    }


def model(process: Process) -> Mapping[str, Any]:
    return {
        "slot": process.model.slot,
        "name": process.model.name,
        "own": size(process.memory.own),
        "files": size(process.memory.files) if process.memory.files else "",
        "cards": size(process.cards) if process.cards else "",
    }
