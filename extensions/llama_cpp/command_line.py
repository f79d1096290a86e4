"""`python server.py build-llama`: the native engine, from a terminal."""

import asyncio
import sys

from extensions.llama_cpp import building
from kernel.api import Kernel, Refused


def _say(fraction: float, note: str) -> None:
    sys.stdout.write(f"{fraction:4.0%}  {note}\n")
    sys.stdout.flush()


async def build(kernel: Kernel, backend: str | None = None) -> None:
    """Build the wheel, make its environment, and choose it in the user's settings."""
    variant = "native" if backend in (None, "cpu") else f"native-{backend}"
    _say(0, f"Building llama.cpp for {_known(variant).title}: minutes, once.")
    told = ""

    def report(fraction: float, note: str) -> None:
        nonlocal told
        if note != told:
            _say(fraction, note)
        told = note

    try:
        root = kernel.workers.root
        await asyncio.to_thread(building.build, root, variant, report, lambda: False)
    except building.NotBuilt as error:
        raise Refused(str(error)) from None
    manifest = kernel.records["llama_cpp"].manifest
    assert manifest
    await kernel.workers.prepare(manifest, variant, report)
    kernel.settings.update({"variant": variant}, "extensions", "llama_cpp")
    _say(1, "The native engine is built; the next load of a GGUF file uses it.")


def _known(variant: str) -> building.Backend:
    try:
        return building.backend(variant)
    except building.NotBuilt as error:
        raise Refused(str(error)) from None
