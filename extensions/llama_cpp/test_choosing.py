"""Changing the engine while people choose models."""

import asyncio
from pathlib import Path
from typing import Any, cast

from extensions.llama_cpp.choosing import Choosing
from kernel.api import LOADERS, Loader, Phase
from kernel.testing import Scripted, ScriptedLoader, running


class Gated(ScriptedLoader):
    """Opens what is not called first once it may."""

    id = label = "gated"

    def __init__(self) -> None:
        super().__init__(Scripted("Hi."))
        self.opening, self.gate = asyncio.Event(), asyncio.Event()

    async def open(self, path: Path, options: Any, report: Any) -> Scripted:
        if self.loads:
            self.opening.set()
            await self.gate.wait()
        return await super().open(path, options, report)


async def test_who_chooses_another_model_meanwhile_keeps_the_new_engine():
    async with running("llama_cpp", "engine_kit") as app:
        slot, ext, loader = app.kernel.slot(), app.extension("llama_cpp"), Gated()
        add = app.kernel.registry.add
        add(LOADERS, cast(Loader, loader), ext.id, phase=Phase.LATE, rank=0, rewrites=False)
        await slot.load(Path("first"), "gated")
        ext.configure({"variant": "native"})
        using = asyncio.create_task(Choosing(ext).use(""))
        await loader.opening.wait()
        other = asyncio.create_task(slot.load(Path("other"), "gated"))
        await app.until(lambda: slot.state.name == "other")
        loader.gate.set()
        await asyncio.gather(using, other)
        assert (ext.variant, slot.state.state, slot.state.name) == ("", "ready", "other")
